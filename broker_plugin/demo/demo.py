"""The demo: real or simulated alerts through the real worker to a table, the ledger and a picture."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from uuid import uuid4

from confluent_kafka.cimpl import NewTopic
from rich.console import Console
from rich.progress import Progress

from broker_plugin.accounts.ledger import Account, audit
from broker_plugin.demo.packets import DrawnObject, gather
from broker_plugin.demo.view import draw_one, read_records, show_bundles, show_ledger, show_objects
from broker_plugin.kafka.client import AckedProducer
from broker_plugin.kafka.embedded_broker import HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, embedded_broker
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topic, create_topics, require_brokers
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from schemas.errors import BrokerError
from schemas.ledger import LedgerEntry

TIMEOUT_S: Final = 240.0


def run_demo(objects: Sequence[DrawnObject], *, broker: str | None, output: Path) -> int:
    """See the verb's help. 1 when an offset has no outcome; BrokerError when the worker fails or takes too long."""
    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        address = broker or stack.enter_context(embedded_broker())
        flags = worker_flags(address, output, embedded=broker is None)
        settings = load_settings(flags=flags)
        require_brokers(settings, "input")
        packets = gather(objects)
        num_packets = len(packets.payloads)
        num_simulated = num_packets - packets.num_real
        counts = f"{packets.num_real} real and {num_simulated} simulated alerts"
        console.print(f"{counts} -> {address}, topic {settings.input.topics[0]}")
        create_topics(settings.internal, settings.output)
        # one partition, so that alerts are taken in as they happened and the picture's probabilities develop
        create_topic(settings.input, NewTopic(settings.input.topics[0], 1, 1))
        send(settings, packets.payloads)
        log = stack.enter_context((output / "worker.log").open("wb"))
        command = [sys.executable, "-m", "broker_plugin", "worker", *(f"--set={flag}" for flag in flags)]
        worker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            accounts = follow_ledger(settings, worker, num_packets, console)
        finally:
            worker.terminate()
            worker.wait(60)
        records = read_records(settings)
        picture = draw_one(settings, records, packets.drawn, output)
    show_objects(records, packets.drawn, console)
    show_bundles(records, console)
    show_ledger(accounts, console)
    console.print(f"picture of one sequence: {picture}\nworker's log: {output / 'worker.log'}")
    return 0 if all(account.balanced for account in accounts.values()) else 1


def worker_flags(address: str, output: Path, *, embedded: bool) -> list[str]:
    """Overrides (``section.key=value``) of a worker on fresh topics of the broker at ``address``."""
    prefix = f"demo-{uuid4().hex[:8]}"
    flags = [f'{section}.bootstrap_servers="{address}"' for section in ("input", "internal", "output")]
    flags += [
        f'input.topics=["{prefix}.alerts"]',
        f'input.group="{prefix}-ingest"',
        f'internal.group="{prefix}-classify"',
        f'internal.topic_prefix="{prefix}"',
        "internal.partitions=4",
        f'output.topic="{prefix}.classifications"',
        f'classify.state_dir="{output / prefix}"',
        "worker.metrics_port=0",
        'log.format="json"',
    ]
    if embedded:
        flags.append(f"worker.session_timeout_ms={SESSION_TIMEOUT_MS}")
        flags.append(f"worker.heartbeat_interval_ms={HEARTBEAT_INTERVAL_MS}")
    return flags


def send(settings: Settings, packets: Sequence[bytes]) -> None:
    """Put packets on the input topic, without a key as Rubin's producer does."""
    producer = AckedProducer(settings.input, settings.worker, max_message_bytes=settings.internal.max_message_bytes)
    for payload in packets:
        producer.produce(settings.input.topics[0], key=None, value=payload)
    producer.flush()


def read_accounts(settings: Settings) -> dict[tuple[str, str, int], Account]:
    """The ledger as it stands."""
    messages = read_topic(settings.internal, settings.internal.ledger_topic)
    return audit(LedgerEntry.from_bytes(message.value() or b"") for message in messages)


def total(accounts: dict[tuple[str, str, int], Account], role: str, outcome: str | None = None) -> int:
    """Offsets of a role, all of them or those of one outcome."""
    return sum(
        count
        for (of_role, _, _), account in accounts.items()
        if of_role == role
        for (of_outcome, _), count in account.counts.items()
        if outcome in (None, of_outcome)
    )


def _accounts_of(worker: subprocess.Popen[bytes], settings: Settings) -> dict[tuple[str, str, int], Account]:
    try:
        return read_accounts(settings)
    except BrokerError as error:
        ended = "" if worker.poll() is None else f"; the worker has ended with status {worker.returncode}"
        address = settings.internal.bootstrap_servers
        raise BrokerError(f"{error}: is the broker at {address} still there?{ended}") from error


def follow_ledger(
    settings: Settings, worker: subprocess.Popen[bytes], num_packets: int, console: Console
) -> dict[tuple[str, str, int], Account]:
    """Follow the ledger until every packet and every stamp has its outcome."""
    deadline = time.monotonic() + TIMEOUT_S
    with Progress(console=console, transient=True) as progress:
        ingest = progress.add_task("ingest", total=num_packets)
        classify = progress.add_task("classify", total=num_packets)
        while time.monotonic() < deadline:
            if worker.poll() is not None:
                raise BrokerError(f"the worker ended with status {worker.returncode}: see its log")
            accounts = _accounts_of(worker, settings)
            num_read, num_stamps = total(accounts, "ingest"), total(accounts, "ingest", "stamped")
            num_done = total(accounts, "classify")
            progress.update(ingest, completed=num_read)
            progress.update(classify, completed=num_done)
            if num_read >= num_packets and num_done >= num_stamps:
                return accounts
            time.sleep(0.5)
    raise BrokerError(f"not done within {TIMEOUT_S} s: see the worker's log")

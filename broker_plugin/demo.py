"""The demo: real or simulated alerts through the real worker to a table, the ledger and a picture."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from uuid import uuid4

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from broker_plugin.embedded_broker import HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, embedded_broker
from broker_plugin.evaluation.sequence_image import png_bytes, sequence_grid
from broker_plugin.kafka import AckedProducer
from broker_plugin.ledger import Account, audit
from broker_plugin.settings import Settings
from broker_plugin.settings_sources import load_settings
from broker_plugin.topic_reader import read_topic
from broker_plugin.topics import create_topics
from schemas.classification import Classification
from schemas.errors import BrokerError
from schemas.ledger import LedgerEntry
from schemas.observation import Observation, content_digest, log_key, read_fact
from schemas.sequence import build_sequence
from schemas.synthetic import generate_packets

REAL_PACKETS: Final = "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk"
NUM_FRAMES: Final = 12
SEED: Final = 20230401
TIMEOUT_S: Final = 240.0
MAX_ROWS: Final = 30


def run_demo(*, broker: str | None, output: Path, num_objects: int) -> int:
    """See the verb's help. 1 when an offset has no outcome; BrokerError when the worker fails or takes too long."""
    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    packets, source = _packets(num_objects)
    with ExitStack() as stack:
        address = broker or stack.enter_context(embedded_broker())
        flags = worker_flags(address, output, embedded=broker is None)
        settings = load_settings(flags=flags)
        console.print(f"{len(packets)} {source} alerts -> {address}, topic {settings.input.topics[0]}")
        create_topics(settings.internal, settings.output)
        send(settings, packets)
        log = stack.enter_context((output / "worker.log").open("wb"))
        command = [sys.executable, "-m", "broker_plugin", "worker", *(f"--set={flag}" for flag in flags)]
        worker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            accounts = follow_ledger(settings, worker, len(packets), console)
        finally:
            worker.terminate()
            worker.wait(60)
        _show_classifications(settings, console)
        picture = _draw(settings, output)
    _show_ledger(accounts, console)
    console.print(f"picture of one sequence: {picture}\nworker's log: {output / 'worker.log'}")
    return 0 if all(account.balanced for account in accounts.values()) else 1


def _packets(num_objects: int) -> tuple[list[bytes], str]:
    folder = Path(os.environ.get("CONVENTION_SAMPLE_DATA", "")) / REAL_PACKETS
    if os.environ.get("CONVENTION_SAMPLE_DATA") and folder.is_dir():
        return [path.read_bytes() for path in sorted(folder.iterdir())], "real (SN 2021rhu)"
    packets = generate_packets(seed=SEED, num_objects=num_objects, num_frames=NUM_FRAMES)
    return [packet.payload for packet in packets], "simulated"


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
            accounts = read_accounts(settings)
            num_read, num_stamps = total(accounts, "ingest"), total(accounts, "ingest", "stamped")
            num_done = total(accounts, "classify")
            progress.update(ingest, completed=num_read)
            progress.update(classify, completed=num_done)
            if num_read >= num_packets and num_done >= num_stamps:
                return accounts
            time.sleep(0.5)
    raise BrokerError(f"not done within {TIMEOUT_S} s: see the worker's log")


def _show_classifications(settings: Settings, console: Console) -> None:
    last: dict[str, Classification] = {}
    for message in read_topic(settings.output, settings.output.topic):
        record = Classification.from_bytes(message.value() or b"")
        last[record.object_id] = record
    table = Table(title=f"{len(last)} objects, last record of each", pad_edge=False)
    for column in ("object", "status", "class", "probability", "spread", "frames per band"):
        table.add_column(column, no_wrap=column == "object")
    for object_id, record in sorted(last.items())[:MAX_ROWS]:
        probability = spread = "-"
        if record.probabilities is not None and record.spread is not None:
            best = max(range(len(record.probabilities)), key=record.probabilities.__getitem__)
            probability = f"{record.probabilities[best]:.2f}"
            spread = f"{record.spread[best]:.2f}"
        bands = " ".join(f"{band}{count}" for band, count in record.frames_per_band.items() if count)
        status = record.status.value if record.reason is None else f"{record.status.value}: {record.reason}"
        table.add_row(object_id, status, record.predicted_class or "-", probability, spread, bands)
    console.print(table)


def _draw(settings: Settings, output: Path) -> Path:
    """The picture of the object with the most frames: bands as rows, nights as columns, missing is black."""
    found: dict[bytes, dict[bytes, Observation]] = {}
    for message in read_topic(settings.internal, settings.internal.stamp_log_topic):
        value = message.value() or b""
        fact = read_fact(value)
        if isinstance(fact, Observation):
            found.setdefault(log_key(fact.survey, fact.object_id), {})[content_digest(value)] = fact
    frames = max(found.values(), key=len)
    ordered = sorted(frames.items(), key=lambda item: (item[1].mjd, item[1].source_id))
    newest = ordered[-1][1]
    sequence = build_sequence(
        newest.survey,
        newest.object_id,
        newest.grid_id,
        [observation for _, observation in ordered],
        [digest for digest, _ in ordered],
        view_digest="",
    )
    path = output / f"{newest.object_id}.png"
    path.write_bytes(png_bytes(sequence_grid(sequence, "science")[1]))
    return path


def _show_ledger(accounts: dict[tuple[str, str, int], Account], console: Console) -> None:
    table = Table(title="ledger: what became of every offset")
    for column in ("role", "outcome", "offsets"):
        table.add_column(column)
    counts: Counter[tuple[str, str]] = Counter()
    for (role, _, _), account in accounts.items():
        for (outcome, reason), count in account.counts.items():
            counts[role, outcome if reason is None else f"{outcome}: {reason}"] += count
    for (role, outcome), count in sorted(counts.items()):
        table.add_row(role, outcome, str(count))
    gaps = sum(len(account.gaps) for account in accounts.values())
    table.caption = "balanced" if gaps == 0 else f"{gaps} gaps"
    console.print(table)

"""Half an hour of alerts while workers and brokers are killed: ``python -m benchmarks.soak [--seconds N]``.

Three Apache Kafka nodes, two supervised workers, ``--rate`` simulated ZTF packets a second, one in a hundred damaged.
At random times ``--worker-kills`` processes of the workers and ``--broker-kills`` nodes get a SIGKILL and are started
again, nodes after ten seconds. When the last packet is sent the workers have ``--drain`` seconds.

Then: every packet sent has one outcome in the ledger of ingest, every stamp one in that of classify, the damaged ones
and no others are dead letters, each trigger has one value, each object's last record has all its frames. The last
line is JSON; exit status 1 when any of this does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from confluent_kafka.cimpl import NewTopic
from rich.console import Console

from benchmarks.soak_checks import check
from broker_plugin.accounts.ledger import Account
from broker_plugin.demo.demo import read_accounts, total, worker_flags
from broker_plugin.kafka.client import AckedProducer
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topic, create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.testing.kafka_node import KafkaCluster, KafkaNode, kafka_home
from schemas.errors import BrokerError
from schemas.synthetic import SMALL, draw_object

NUM_FRAMES: Final = 60
POISON_SHARE: Final = 0.01
RESTART_S: Final = 10.0
POLL_S: Final = 5.0


def main() -> int:
    """Run, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--worker-kills", type=int, default=25)
    parser.add_argument("--broker-kills", type=int, default=5)
    parser.add_argument("--drain", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exactly-once", action="store_true")
    args = parser.parse_args()
    home = kafka_home()
    if home is None:
        print("soak needs Apache Kafka: set KAFKA_HOME", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        figures = soak(home, Path(name), args)
    print(json.dumps(figures))
    return 0 if figures["holds"] else 1


def soak(home: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one soak; ``holds`` says whether everything promised held."""
    console = Console(stderr=True)
    cluster = KafkaCluster(home, folder, 3)
    flags = soak_flags(cluster.address, folder, exactly_once=args.exactly_once)
    settings = load_settings(flags=flags)
    plan = Plan(args)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        cluster.start()
        create_topics(settings.internal, settings.output)
        workers = [Supervisor(number, flags, folder) for number in range(2)]
        for worker in workers:
            stack.callback(worker.stop)
        started = time.monotonic()
        killer = threading.Thread(target=plan.kill, args=(workers, cluster.nodes, started), daemon=True)
        killer.start()
        num_sent, poison = send_at_rate(settings, plan, started, console)
        killer.join()
        drain_started = time.monotonic()
        accounts = await_drained(settings, num_sent, drain_started + args.drain, console)
        drained_s = time.monotonic() - drain_started
        log_bytes = sum(file.stat().st_size for file in folder.glob("node-*/data/**/*.log"))
        figures = check(settings, accounts, num_sent, poison, plan.is_done)
    return figures | {
        "seconds": args.seconds,
        "rate": args.rate,
        "exactly_once": args.exactly_once,
        "worker_kills": plan.num_worker_kills,
        "worker_starts": sum(worker.num_starts for worker in workers),
        "broker_kills": plan.num_broker_kills,
        "drained_s": round(drained_s, 1),
        "log_bytes_all_replicas": log_bytes,
        "retention_days": settings.internal.retention_days,
    }


def soak_flags(address: str, folder: Path, *, exactly_once: bool) -> list[str]:
    """Settings of the workers on a cluster of three."""
    given = {flag.partition("=")[0]: flag for flag in worker_flags(address, folder, embedded=True)}
    for flag in (
        "internal.replication=3",
        "output.replication=3",
        "worker.session_timeout_ms=6000",
        "worker.heartbeat_interval_ms=1000",
        "worker.delivery_timeout_s=60",
        f"classify.exactly_once={str(exactly_once).lower()}",
    ):
        given[flag.partition("=")[0]] = flag
    return list(given.values())


class Plan:
    """What is sent and who dies when, from the seed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._random = random.Random(args.seed)
        self.rate: float = args.rate
        self.num_packets = int(args.seconds * args.rate)
        self.seed: int = args.seed
        times = sorted(self._random.uniform(0.05, 1.0) * args.seconds for _ in range(args.worker_kills))
        broker_times = [(i + 0.5) / max(1, args.broker_kills) * args.seconds for i in range(args.broker_kills)]
        self._deaths = sorted([(t, "worker") for t in times] + [(t, "broker") for t in broker_times])
        self.is_done = False
        self.num_worker_kills = 0
        self.num_broker_kills = 0

    def packets(self) -> Iterator[tuple[bytes, bool]]:
        """Packets and whether each is damaged: objects side by side, each from its first frame to its last."""
        num_objects = -(-self.num_packets // NUM_FRAMES)
        nights = (NUM_FRAMES, 4 * NUM_FRAMES)
        sent = 0
        for first in range(0, num_objects, 50):
            group = [
                draw_object(
                    "ztf",
                    seed=self.seed,
                    index=index,
                    min_frames=NUM_FRAMES,
                    max_frames=NUM_FRAMES,
                    num_nights=nights,
                )
                for index in range(first, min(first + 50, num_objects))
            ]
            for frame in range(NUM_FRAMES):
                for one in group:
                    if sent == self.num_packets:
                        return
                    payload = one.packet(frame, form=SMALL)
                    damaged = self._random.random() < POISON_SHARE
                    yield (payload[: len(payload) // 2] if damaged else payload), damaged
                    sent += 1

    def kill(self, workers: Sequence[Supervisor], nodes: Sequence[KafkaNode], started: float) -> None:
        """Kill in the background until the plan is done."""
        chance = random.Random(self.seed + 1)
        for at, kind in self._deaths:
            time.sleep(max(0.0, started + at - time.monotonic()))
            if kind == "worker":
                self.num_worker_kills += chance.choice(workers).kill(chance)
            else:
                node = chance.choice(nodes)
                node.kill()
                time.sleep(RESTART_S)
                node.start()
                self.num_broker_kills += 1
        self.is_done = True


class Supervisor:
    """Keeps one worker running: starts it again whenever it ends, as systemd or Kubernetes would."""

    def __init__(self, number: int, flags: Sequence[str], folder: Path) -> None:
        self._log = folder / f"worker-{number}.log"
        state = f'classify.state_dir="{folder / f"state-{number}"}"'
        given = {flag.partition("=")[0]: flag for flag in (*flags, state, f'worker.instance_id="worker-{number}"')}
        overrides = (f"--set={flag}" for flag in given.values())
        self._command = [sys.executable, "-m", "broker_plugin", "worker", *overrides]
        self._stopping = threading.Event()
        self.num_starts = 0
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def kill(self, chance: random.Random) -> int:
        """SIGKILL one role of the worker, or all of it; how many processes were asked to die (0 or 1 counts)."""
        process = self._process
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        victims = [int(child) for child in children] + [process.pid]
        victim = chance.choice(victims)
        try:
            if victim == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return 1

    def stop(self) -> None:
        """SIGTERM and wait."""
        self._stopping.set()
        self._process.terminate()
        self._process.wait(60)

    def _start(self) -> subprocess.Popen[bytes]:
        self.num_starts += 1
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if self._process.poll() is not None:
                time.sleep(1.0)
                if not self._stopping.is_set():
                    self._process = self._start()
            time.sleep(0.2)


def send_at_rate(settings: Settings, plan: Plan, started: float, console: Console) -> tuple[int, int]:
    """Send everything at the plan's rate, as surveys do: acknowledged by the cluster. Numbers sent and damaged."""
    topic = settings.input.topics[0]
    create_topic(settings.input, NewTopic(topic, 4, 3))
    producer = AckedProducer(settings.input, settings.worker, max_message_bytes=settings.internal.max_message_bytes)
    num_sent = num_damaged = 0
    for payload, damaged in plan.packets():
        time.sleep(max(0.0, started + num_sent / plan.rate - time.monotonic()))
        producer.produce(topic, key=None, value=payload)
        num_sent += 1
        num_damaged += damaged
        if num_sent % 3000 == 0:
            console.print(f"{num_sent} of {plan.num_packets} packets sent, {plan.num_worker_kills} workers killed")
    producer.flush()
    return num_sent, num_damaged


def await_drained(
    settings: Settings, num_sent: int, deadline: float, console: Console
) -> dict[tuple[str, str, int], Account]:
    """Until every packet and stamp has an outcome, or the deadline."""
    while True:
        try:
            accounts = read_accounts(settings)
        except BrokerError as error:
            console.print(f"ledger: {error}")
            accounts = {}
        stamps = sum(1 for _ in read_topic(settings.internal, settings.internal.stamp_log_topic)) if accounts else 1
        done = total(accounts, "classify") - total(accounts, "classify", "absent")
        if total(accounts, "ingest") >= num_sent and done >= stamps:
            return accounts
        if time.monotonic() > deadline:
            console.print("not drained in time")
            return accounts
        console.print(f"ingest {total(accounts, 'ingest')} of {num_sent}, classify {done} of {stamps}")
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())

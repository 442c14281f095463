"""What a packet costs: ``python -m benchmarks.bench_scale [--packets N] [--workers 1 2 4]``.

A backlog of simulated LSST packets (Confluent wire, 8 input partitions) goes through 1, 2 and 4 workers, each with a
fresh Apache Kafka node on the same machine. Printed for each: packets a second, and from the workers' own metrics the
processor seconds (getrusage, all threads) of each step and role over the packets. With 4 workers on fewer cores only
the ledger and the records count, not the rate. The last line is JSON; ``benchmarks.capacity`` makes a plan of it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from confluent_kafka.cimpl import NewTopic

from benchmarks.watching import print_figures
from broker_plugin.demo.demo import read_accounts, send, total, worker_flags
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topic, create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.testing.kafka_node import KafkaNode, kafka_home
from broker_plugin.testing.processes import worker_process
from schemas.synthetic import generate_packets

NUM_FRAMES: Final = 20
INPUT_PARTITIONS: Final = 8
TIMEOUT_S: Final = 600.0
_STEP: Final = re.compile(r'convention_step_cpu_seconds_total\{role="(\w+)",step="(\w+)"\} (\S+)')
_PROCESS: Final = re.compile(r"^process_cpu_seconds_total (\S+)", re.MULTILINE)
_PORT: Final = re.compile(r'"metrics_port": (\d+)')


def main() -> int:
    """Measure and print; 1 when a ledger does not balance or a record is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=6000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    home = kafka_home()
    if home is None:
        print("bench-scale needs Apache Kafka: set KAFKA_HOME", file=sys.stderr)
        return 1
    num_objects = args.packets // NUM_FRAMES
    made = generate_packets(seed=5, num_objects=num_objects, num_frames=NUM_FRAMES, survey="lsst")
    packets = [packet.payload for packet in made]
    figures: dict[str, Any] = {
        "packets": len(packets),
        "packet_bytes": sum(map(len, packets)) / len(packets),
        "frames_an_object": NUM_FRAMES,
    }
    for count in args.workers:
        with tempfile.TemporaryDirectory() as name:
            measured = measure(home, Path(name), packets, count)
        figures |= {f"workers_{count}_{key}": value for key, value in measured.items()}
    print_figures(figures)
    return 0 if all(value for key, value in figures.items() if key.endswith("_complete")) else 1


def measure(home: Path, folder: Path, packets: Sequence[bytes], num_workers: int) -> dict[str, Any]:
    """One backlog through ``num_workers`` workers that are up when it comes."""
    node = KafkaNode(home, folder)
    given = {flag.partition("=")[0]: flag for flag in worker_flags(node.address, folder, embedded=True)}
    given["internal.partitions"] = "internal.partitions=8"
    settings = load_settings(flags=list(given.values()))
    with ExitStack() as stack:
        stack.callback(node.stop)
        node.start()
        create_topics(settings.internal, settings.output)
        create_topic(settings.input, NewTopic(settings.input.topics[0], INPUT_PARTITIONS, 1))
        logs = [folder / f"worker-{number}.log" for number in range(num_workers)]
        for number, log in enumerate(logs):
            state = f'classify.state_dir="{folder / f"state-{number}"}"'
            flags = [*(given | {"classify.state_dir": state}).values()]
            stack.enter_context(worker_process(flags, log))
        ports = await_ready(logs)
        before = processor_seconds(ports)
        send(settings, packets)
        complete = await_done(settings, len(packets))
        spent = processor_seconds(ports) - before
        found = records(settings)
    figures: dict[str, Any] = {
        "packets_per_s": len(packets) / found.seconds,
        "complete": complete and found.num_triggers == len(packets) and not found.num_contradicted,
    }
    return figures | {f"cpu_ms_{name}": 1000.0 * value / len(packets) for name, value in sorted(spent.items())}


class Spent(dict[str, float]):
    """Processor seconds by name: the whole of a role (``ingest``) and its steps (``ingest_decode``)."""

    def __sub__(self, other: Spent) -> Spent:
        return Spent({name: value - other.get(name, 0.0) for name, value in self.items()})


def processor_seconds(ports: Sequence[int]) -> Spent:
    """What the processes behind ``ports`` have spent so far, together."""
    spent = Spent()
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        role = ""
        for role, step, seconds in _STEP.findall(text):
            spent[f"{role}_{step}"] = spent.get(f"{role}_{step}", 0.0) + float(seconds)
        whole = _PROCESS.search(text)
        assert whole is not None
        spent[role] = spent.get(role, 0.0) + float(whole[1])
    return spent


def await_ready(logs: Sequence[Path]) -> list[int]:
    """Ports of both roles of every worker, once all say that they are ready."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        ports = [int(port) for log in logs for port in _PORT.findall(log.read_text())]
        if len(ports) == 2 * len(logs) and all(map(ready, ports)):
            return ports
        time.sleep(0.5)
    raise TimeoutError(f"workers not ready within {TIMEOUT_S} s")


def ready(port: int) -> bool:
    """Whether a role has been assigned its partitions."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def await_done(settings: Settings, num_packets: int) -> bool:
    """Until every packet has its outcomes; whether the ledger balances."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        accounts = read_accounts(settings)
        if min(total(accounts, "ingest"), total(accounts, "classify")) >= num_packets:
            return all(account.balanced for account in accounts.values())
        time.sleep(1.0)
    raise TimeoutError(f"{num_packets} packets not done within {TIMEOUT_S} s")


@dataclass(frozen=True, slots=True)
class Found:
    """What came out: seconds from the first packet's ingest to the last record's publication."""

    num_triggers: int
    num_contradicted: int
    seconds: float


def records(settings: Settings) -> Found:
    """The records on the output topic."""
    values: dict[tuple[bytes, bytes], set[bytes]] = {}
    first, last = float("inf"), 0.0
    for message in read_topic(settings.output, settings.output.topic):
        headers: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]
        values.setdefault((headers["log-partition"], headers["log-offset"]), set()).add(message.value() or b"")
        first = min(first, float(headers["ingest-time-ms"]))
        last = max(last, float(message.timestamp()[1]))
    return Found(len(values), sum(len(found) > 1 for found in values.values()), (last - first) / 1000.0)


if __name__ == "__main__":
    sys.exit(main())

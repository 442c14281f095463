"""A role under load, watched from outside: what it has committed, its processor time, its resident memory."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console
from rich.table import Table

from broker_plugin.kafka.client import client_config
from broker_plugin.kafka.embedded_broker import embedded_broker
from broker_plugin.settings.sections import InputSettings, InternalSettings
from broker_plugin.testing.kafka_node import KafkaNode, kafka_home
from broker_plugin.testing.processes import python_process

CORES: Final = 2
WARM_SHARE: Final = 0.1
SAMPLE_S: Final = 0.25
TIMEOUT_S: Final = 2400.0
MEMORY_SHARE: Final = 0.1
PARTS: Final = 10
ENDS: Final = 3  # parts at either end between which growth is told
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """Packets committed so far, CPU seconds of the worker and of the broker, the worker's resident bytes."""

    at_s: float
    done: int
    worker_cpu_s: float
    broker_cpu_s: float
    resident: int


@contextmanager
def broker(address: str | None, folder: Path) -> Iterator[tuple[str, str, int | None]]:
    """HOST:PORT, what it is, its process where it is ours to know."""
    home = kafka_home()
    if address is not None:
        yield address, "given", None
    elif home is None:
        with embedded_broker() as embedded:
            yield embedded, "embedded", None
    else:
        node = KafkaNode(home, folder)
        node.start()
        try:
            yield node.address, "Apache Kafka", node.pid
        finally:
            node.stop()


def warm(samples: Sequence[Sample], *, share: float = WARM_SHARE) -> list[Sample]:
    """Those from a tenth, or ``share``, of the stream on."""
    return [sample for sample in samples if sample.done >= share * samples[-1].done]


def watch(
    connection: InputSettings | InternalSettings,
    places: Sequence[TopicPartition],
    count: int,
    worker: int,
    broker_pid: int | None,
) -> Iterator[Sample]:
    """A sample every SAMPLE_S until the connection's group has committed ``count`` messages of the partitions."""
    group = Consumer(client_config(connection) | {"group.id": connection.group, "log_level": 0})
    started = time.monotonic()
    done = 0
    while done < count:
        assert time.monotonic() - started < TIMEOUT_S, f"{done} of {count} after {TIMEOUT_S} s"
        with suppress(KafkaException):  # until the broker has found the group's coordinator
            done = sum(max(0, place.offset) for place in group.committed(list(places), timeout=30))
        cpu, resident = usage(worker)
        broker_cpu = 0.0 if broker_pid is None else usage(broker_pid)[0]
        yield Sample(time.monotonic() - started, done, cpu, broker_cpu, resident)
        time.sleep(SAMPLE_S)
    group.close()


def watch_role(
    role: str,
    flags: Sequence[str],
    connection: InputSettings | InternalSettings,
    places: Sequence[TopicPartition],
    count: int,
    *,
    feed: Callable[[], None],
    log: Path,
    broker_pid: int | None,
    fed_first: bool = False,
) -> list[Sample]:
    """Samples from the start of a worker's role to its commit of the last of ``count`` messages, which ``feed`` puts
    on ``places`` meanwhile, or before."""
    feeder = threading.Thread(target=feed)
    feeder.start()
    if fed_first:
        feeder.join()
    overrides = [f"--set={flag}" for flag in flags]
    with python_process("-m", "broker_plugin", "worker", "--role", role, *overrides, log=log) as worker:
        samples = [*watch(connection, places, count, worker.pid, broker_pid)]
        assert worker.poll() is None, log.read_text()[-2000:]
        feeder.join()
    return samples


def usage(pid: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of a process (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / TICKS, resident * PAGE


def rates(first: Sample, last: Sample) -> dict[str, float]:
    """Between two samples."""
    count, seconds = last.done - first.done, last.at_s - first.at_s
    return {
        "packets_per_s": count / seconds,
        "worker_cpu_ms_a_packet": (last.worker_cpu_s - first.worker_cpu_s) / count * 1e3,
        "broker_cpu_ms_a_packet": (last.broker_cpu_s - first.broker_cpu_s) / count * 1e3,
    }


def memory(samples: list[Sample]) -> dict[str, Any]:
    """The worker's peak resident memory in each of PARTS equal parts of the stream, how far a peak is from their
    median, and how much the last three of them are above the first three. Peaks, since memory falls for a moment
    whenever a batch of some 50 MB is let go of."""
    first, last = samples[0].done, samples[-1].done
    peaks = [0] * PARTS
    for sample in samples:
        part = min(PARTS - 1, PARTS * (sample.done - first) // (last - first))
        peaks[part] = max(peaks[part], sample.resident)
    peaks = [peak for peak in peaks if peak]
    middle = statistics.median(peaks)
    resident = [sample.resident for sample in samples]
    typical = statistics.median(resident)
    return {
        "resident_mb": typical / 1e6,
        "sample_off_median": max(abs(value - typical) for value in resident) / typical,
        "peak_mb": middle / 1e6,
        "peaks_mb": [round(peak / 1e6, 1) for peak in peaks],
        "growth": statistics.mean(peaks[-ENDS:]) / statistics.mean(peaks[:ENDS]) - 1,
        "peak_off_median": max(abs(peak - middle) for peak in peaks) / middle,
    }


def print_figures(figures: Mapping[str, Any]) -> None:
    """As a table to read, and as JSON in the last line."""
    table = Table("figure", "value")
    for key, value in figures.items():
        table.add_row(key, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
    print(json.dumps(figures))

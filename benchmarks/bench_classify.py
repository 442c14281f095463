"""Memory of the classify role over a long stream: ``python -m benchmarks.bench_classify [--steady N]``.

N stamps of N / 20 objects in random order are put on the stamp log while one classify process takes them in: store,
view, a shipped bundle's answer for every trigger, record, ledger. Broker and worker share two cores; without
``--broker`` an Apache Kafka node is started where ``KAFKA_HOME`` has one, otherwise the embedded broker.

Resident memory is watched once what has a bound is full: the token cache, kept small here, 64 MB of decoded frames
and the store's page cache of 64 MB a partition, of which there is one. That takes some 7,000 stamps, so it is watched
from a fifth of the stream on, and N of 50,000 is asked for: fewer show the caches fill. Its peaks over ten parts are
printed, and how much the last three are above the first three; exit status 1 when a peak is more than 10% off their
median. The last line is JSON.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer, TopicPartition

from benchmarks.bench_store import Stamps
from benchmarks.watching import (
    CORES,
    MEMORY_SHARE,
    Sample,
    broker,
    memory,
    print_figures,
    rates,
    warm,
    watch_role,
)
from broker_plugin.demo.demo import worker_flags
from broker_plugin.kafka.client import client_config
from broker_plugin.kafka.topics import create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.testing.producing import produce_all

FRAMES: Final = 20
# a few hundred frames: full before a tenth of the stream is done
CACHE_MB: Final = 8
FILLED_SHARE: Final = 0.2


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker")
    parser.add_argument("--steady", type=int, metavar="N", default=50_000, help="stamps (50,000)")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as name, broker(args.broker, Path(name)) as (address, kind, pid):
        samples = measure(address, Path(name), pid, args.steady)
    later = warm(samples, share=FILLED_SHARE)
    figures: dict[str, Any] = {"broker": kind, "stamps": samples[-1].done, "seconds": samples[-1].at_s}
    figures |= rates(later[0], later[-1]) | memory(later)
    print_figures(figures)
    return int(figures["peak_off_median"] > MEMORY_SHARE)


def measure(address: str, folder: Path, broker_pid: int | None, count: int) -> list[Sample]:
    """Samples from the start to the last stamp's commit."""
    flags = worker_flags(address, folder, embedded=broker_pid is None)
    flags = [flag for flag in flags if not flag.startswith("internal.partitions=")]
    flags += ["internal.partitions=1", "classify.threads=1", f"classify.token_cache_mb={CACHE_MB}"]
    settings = load_settings(flags=flags)
    create_topics(settings.internal, settings.output)
    topic = settings.internal.stamp_log_topic
    return watch_role(
        "classify",
        flags,
        settings.internal,
        [TopicPartition(topic, partition) for partition in range(settings.internal.partitions)],
        count,
        feed=partial(feed, settings, count),
        log=folder / "classify.log",
        broker_pid=broker_pid,
    )


def feed(settings: Settings, count: int) -> None:
    """Put the stamps on the log, keyed as ingest does."""
    producer = Producer(client_config(settings.internal) | {"partitioner": "murmur2_random", "linger.ms": 5})
    stamps = Stamps(max(1, count // FRAMES)).take(count)
    messages = ({"key": stamp.key, "value": stamp.payload} for stamp in stamps)
    produce_all(producer, settings.internal.stamp_log_topic, messages)
    producer.flush()


if __name__ == "__main__":
    raise SystemExit(main())

"""The ingest role on a real broker, both on two cores: ``python -m benchmarks.bench_ingest [--broker HOST:PORT]``.

Simulated LSST packets of 70 to 140 kB (schema 10.0, stamps of 30 px and more, no histories) wait on eight partitions;
then one ingest process takes them from wire to stamp log. Without ``--broker`` an Apache Kafka node is started where
``KAFKA_HOME`` has one, otherwise the embedded broker. Times start once a tenth is done. CPU seconds tell what the
figure would be on a machine that does nothing else. The ratio is to the 400 packets a second that are asked for.

``--steady N``: N packets are fed while they are taken in, and the process's resident memory is watched from a tenth
on: its peaks over ten parts of the stream; exit status 1 when one is more than 10% off their median. Single samples
go further off, downwards: printed beside it, not judged. A part must hold many batches: N of 50,000 is asked for. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

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
from broker_plugin.kafka.topics import create_topic, create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.testing.producing import produce_all
from schemas.synthetic import PacketForm, draw_object

WANTED_PER_S: Final = 400.0
NUM_PARTITIONS: Final = 8
FORMS: Final = (PacketForm(psf_side=25, large_stamps=3.0), PacketForm(psf_side=41, large_stamps=3.0))
FRAMES: Final = 20


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker")
    parser.add_argument("--packets", type=int, default=4000)
    parser.add_argument("--steady", type=int, metavar="N", help="watch memory over N packets instead")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as name, broker(args.broker, Path(name)) as (address, kind, pid):
        samples, sizes = measure(address, Path(name), pid, args.steady or args.packets, fed_first=not args.steady)
    figures: dict[str, Any] = {
        "broker": kind,
        "packets": samples[-1].done,
        "mean_packet_kb": sum(sizes) / len(sizes) / 1e3,
    }
    figures |= {"smallest_packet_kb": min(sizes) / 1e3, "largest_packet_kb": max(sizes) / 1e3}
    later = warm(samples)
    figures |= rates(later[0], later[-1])
    status = 0
    if args.steady:
        figures |= memory(later)
        status = int(figures["peak_off_median"] > MEMORY_SHARE)
    else:
        figures["ratio"] = figures["packets_per_s"] / WANTED_PER_S
    print_figures(figures)
    return status


def packets(count: int) -> Iterator[bytes]:
    """Of FRAMES exposures an object, sizes and rotations by chance."""
    for index in range(-(-count // FRAMES)):
        target = draw_object(
            "lsst", seed=5, index=4 * index, min_frames=FRAMES, max_frames=FRAMES, num_nights=(24, 60)
        )
        for frame in range(min(FRAMES, count - FRAMES * index)):
            yield target.packet(frame, form=FORMS[frame % len(FORMS)])


def measure(
    address: str, folder: Path, broker_pid: int | None, count: int, *, fed_first: bool
) -> tuple[list[Sample], list[int]]:
    """Samples from the start to the last packet's commit, and the packets' sizes."""
    flags = worker_flags(address, folder, embedded=broker_pid is None)
    settings = load_settings(flags=flags)
    create_topics(settings.internal, settings.output)
    keep = {"segment.bytes": str(64 << 20), "max.message.bytes": str(settings.internal.max_message_bytes)}
    create_topic(settings.input, NewTopic(settings.input.topics[0], NUM_PARTITIONS, 1, config=keep))
    sizes: list[int] = []
    places = [TopicPartition(settings.input.topics[0], partition) for partition in range(NUM_PARTITIONS)]
    samples = watch_role(
        "ingest",
        flags,
        settings.input,
        places,
        count,
        feed=partial(feed, settings, count, sizes),
        log=folder / "ingest.log",
        broker_pid=broker_pid,
        fed_first=fed_first,
    )
    return samples, sizes


def feed(settings: Settings, count: int, sizes: list[int]) -> None:
    """Put the packets on the input topic, on partitions by chance."""
    limits = {"message.max.bytes": settings.internal.max_message_bytes, "queue.buffering.max.kbytes": 131_072}
    producer = Producer(client_config(settings.input) | limits | {"sticky.partitioning.linger.ms": 0})

    def messages() -> Iterator[dict[str, bytes]]:
        for payload in packets(count):
            sizes.append(len(payload))
            yield {"value": payload}

    produce_all(producer, settings.input.topics[0], messages())
    producer.flush()


if __name__ == "__main__":
    raise SystemExit(main())

"""Which partition an object's stamps go to must be what every Kafka client says, now and in every later version."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plugin.kafka.client import AckedProducer
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from schemas.observation import log_key
from tests.brokers.support import Run

# murmur2 as in Apache Kafka's own unit test of Utils.murmur2
KNOWN_HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
# keys of the stamp log over 8 partitions: a change here would split the history of every object
KNOWN_PARTITIONS = {
    ("ztf", "ZTF21abiuvdk"): 3,
    ("ztf", "ZTF18aabjhsd"): 5,
    ("lsst", "313985345528463360"): 5,
    ("ugriz", "SIM000001"): 3,
}
NUM_PARTITIONS = 8


def partition_of(key: bytes) -> int:
    """The partition by the hash, as the Java client takes it."""
    return (murmur2(key) & 0x7FFFFFFF) % NUM_PARTITIONS


def murmur2(key: bytes) -> int:
    """MurmurHash2 (A. Appleby, public domain) with Kafka's seed, as a signed 32-bit integer."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for start in range(0, whole, 4):
        part = int.from_bytes(key[start : start + 4], "little") * factor & mask
        part = (part ^ part >> 24) * factor & mask
        value = (value * factor & mask) ^ part
    if whole < len(key):
        value = (value ^ int.from_bytes(key[whole:], "little")) * factor & mask
    value = (value ^ value >> 13) * factor & mask
    value ^= value >> 15
    return value - (1 << 32) if value >> 31 else value


def test_the_hash_is_that_of_the_java_client() -> None:
    """This file's murmur2 gives the values that Apache Kafka's own test holds."""
    assert {key: murmur2(key) for key in KNOWN_HASHES} == KNOWN_HASHES


def test_keys_of_the_stamp_log_keep_their_partition() -> None:
    """An object's partition is fixed for ever."""
    found = {name: partition_of(log_key(*name)) for name in KNOWN_PARTITIONS}
    assert found == KNOWN_PARTITIONS


@pytest.mark.timeout(60)
def test_the_producer_partitions_by_it(broker: str, tmp_path: Path) -> None:
    """Every message with a key is on the partition that the hash says."""
    settings = Run(broker, tmp_path, f"internal.partitions={NUM_PARTITIONS}").settings
    create_topics(settings.internal, settings.output)
    producer = AckedProducer(settings.internal, settings.worker, max_message_bytes=1_000_000)
    keys = [*KNOWN_HASHES, *(log_key(*name) for name in KNOWN_PARTITIONS), *(b"ztf:%d" % n for n in range(50))]
    for key in keys:
        producer.produce(settings.internal.stamp_log_topic, key=key, value=b"stamp")
    producer.flush()
    found = {m.key(): m.partition() for m in read_topic(settings.internal, settings.internal.stamp_log_topic)}
    assert found == {key: partition_of(key) for key in keys}

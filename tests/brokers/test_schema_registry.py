"""Packets whose schema nobody knows yet: their partition waits, the others go on, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from broker_plugin.demo.demo import read_accounts, total
from broker_plugin.kafka.client import ENVELOPE_BYTES, AckedProducer, client_config, make_consumer
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.telemetry.metrics import IngestMetrics, worker_registry
from broker_plugin.worker.ingest import IngestRole
from schemas.dead_letter import DeadLetter
from schemas.observation import Observation, read_fact
from schemas.surveys import SURVEYS
from schemas.surveys.lsst_wire import bundled_schema
from schemas.synthetic import generate_packets
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.lsst import Pointing, lsst_packet
from schemas.writers.ugriz import ugriz_packet
from tests.brokers.support import Run
from tests.registry_server import RegistryServer, registry_server

NEWER_ID = 1200
FIELDS = AlertFields("1", "1", 61110.25, "r", 150.0, 2.0, 5e3, 50.0, 1.1, 0.9)
STAMPS = Stamps(np.ones((31, 31), np.float32), np.ones((31, 31), np.float32))


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as found:
        yield found


def newer_schema() -> dict[str, Any]:
    """A version that is not bundled."""
    schema = bundled_schema(1101)
    assert schema is not None
    return schema | {"name": f"lsst.v{NEWER_ID // 100}_{NEWER_ID % 100}.alert"}


def lsst(source_id: int, schema_id: int) -> bytes:
    """A packet of one version; a newer one has 11.1's fields."""
    packet = lsst_packet(
        replace(FIELDS, object_id=str(source_id), source_id=str(source_id)),
        STAMPS,
        Pointing(20.0, 15.0, 15.0),
        variance=np.full((31, 31), 100.0, np.float32),
        psf=np.full((5, 5), 0.04),
        schema_id=1101 if schema_id == NEWER_ID else schema_id,
    )
    return packet[:1] + schema_id.to_bytes(4, "big") + packet[5:]


class Member:
    """One ingest role, stepped by hand."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.registry = worker_registry()
        self.consumer: Consumer = make_consumer(
            settings.input, settings.worker, group=settings.input.group, start="earliest"
        )
        largest = settings.internal.max_message_bytes + ENVELOPE_BYTES
        producer = AckedProducer(settings.internal, settings.worker, max_message_bytes=largest)
        metrics = IngestMetrics(self.registry, surveys=[survey.name for survey in SURVEYS], version="0")
        self.role = IngestRole(settings, self.consumer, producer, metrics=metrics, instance=name, plugin_version="0")
        self.role.subscribe(lambda assigned: None)

    @property
    def num_waiting(self) -> float:
        """Partitions that the metric says are waiting."""
        value = self.registry.get_sample_value("convention_schema_unavailable_partitions", {"role": "ingest"})
        assert value is not None
        return value


def stamped(settings: Settings) -> int:
    """Packets that the ledger says are stamped."""
    return total(read_accounts(settings), "ingest", "stamped")


def step_until_stamped(settings: Settings, members: Sequence[Member], count: int, timeout_s: float = 40.0) -> None:
    """Step in turn until so many are stamped; fails at the deadline."""
    deadline = time.monotonic() + timeout_s
    while (found := stamped(settings)) < count:
        assert time.monotonic() < deadline, f"{found} of {count} stamped in {timeout_s} s"
        for member in members:
            member.role.step()


def step_until(members: Sequence[Member], done: Callable[[], bool], timeout_s: float = 40.0) -> None:
    """Step in turn until ``done()``; fails at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, [member.num_waiting for member in members]
        for member in members:
            member.role.step()


def step_for(members: Sequence[Member], seconds: float) -> None:
    """Step in turn for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for member in members:
            member.role.step()


def start(address: str, folder: Path, server: RegistryServer, packets: Sequence[Sequence[bytes]]) -> Settings:
    """Settings and topics, with the packets of each input partition in place."""
    settings = Run(address, folder, f'input.registry_url="{server.url}"', "ingest.batch_deadline_s=0.1").settings
    create_topics(settings.internal, settings.output)
    (topic,) = settings.input.topics
    admin = AdminClient(client_config(settings.input))
    admin.create_topics([NewTopic(topic, len(packets), 1)])[topic].result(30)
    producer = Producer(client_config(settings.input))
    for partition, of_partition in enumerate(packets):
        for packet in of_partition:
            producer.produce(topic, packet, partition=partition)
    assert producer.flush(30) == 0
    return settings


def observed(settings: Settings) -> dict[str, int]:
    """survey:source id -> how often its observation is in the stamp log."""
    found: dict[str, int] = {}
    for message in read_topic(settings.internal, settings.internal.stamp_log_topic):
        fact = read_fact(message.value() or b"")
        assert isinstance(fact, Observation)
        key = f"{fact.survey}:{fact.source_id}"
        found[key] = found.get(key, 0) + 1
    return found


def test_a_partition_waits_for_its_schema_and_then_goes_on(
    broker: str, server: RegistryServer, tmp_path: Path
) -> None:
    """A topic of mixed versions and framings, and a registry that is down: the partition with the unknown id stops
    before that packet, the others are read to their ends, and the metric says so. A registry that is up and does not
    know changes nothing. Once it knows, every packet is stamped once, in order, and none was dead-lettered."""
    server.stop()
    waiting = [lsst(1, 1000), lsst(2, NEWER_ID), lsst(3, 1000), lsst(4, NEWER_ID)]
    others = [lsst(10 + index, schema_id) for index, schema_id in enumerate((900, 1000, 1001, 1100, 1101) * 2)]
    framed = [packet.payload for packet in generate_packets(seed=5, num_objects=3, num_frames=1)]
    framed.append(ugriz_packet(FIELDS, STAMPS))
    settings = start(broker, tmp_path, server, [waiting, others, framed])
    (topic,) = settings.input.topics
    num_packets = len(waiting) + len(others) + len(framed)
    member = Member(settings, "one")
    try:
        step_until_stamped(settings, [member], 1 + len(others) + len(framed))
        step_for([member], 1.5)
        assert stamped(settings) == 1 + len(others) + len(framed)
        assert member.num_waiting == 1
        (place,) = member.consumer.committed([TopicPartition(topic, 0)], timeout=10)
        assert place.offset == 1
        server.start()
        step_until([member], lambda: bool(server.requests))
        assert member.num_waiting == 1
        server.add(NEWER_ID, newer_schema())
        step_until_stamped(settings, [member], num_packets)
        assert member.num_waiting == 0
    finally:
        member.consumer.close()
    assert [path for _, path in server.requests if str(NEWER_ID) not in path] == []  # bundled ids ask nobody
    accounts = read_accounts(settings)
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest") == total(accounts, "ingest", "stamped") == num_packets
    found = observed(settings)
    assert len(found) == num_packets
    assert set(found.values()) == {1}


@pytest.mark.kafka
def test_a_waiting_partition_survives_rebalances(kafka: str, server: RegistryServer, tmp_path: Path) -> None:
    """Partitions that wait are given to a member that joins and are taken back when it leaves; once the registry
    knows the schema, all packets are stamped."""
    packets = [[lsst(10 * partition + index, NEWER_ID) for index in range(1, 4)] for partition in range(4)]
    settings = start(kafka, tmp_path, server, packets)
    first = Member(settings, "first")
    try:
        step_until([first], lambda: first.num_waiting == 4)
        second = Member(settings, "second")
        try:
            step_until([first, second], lambda: (first.num_waiting, second.num_waiting) == (2, 2))
        finally:
            second.consumer.close()
        server.add(NEWER_ID, newer_schema())
        step_until_stamped(settings, [first], 12)
        assert first.num_waiting == 0
    finally:
        first.consumer.close()
    accounts = read_accounts(settings)
    assert all(account.balanced for account in accounts.values())
    assert total(accounts, "ingest") == 12


@pytest.mark.tansu
def test_a_damaged_id_is_a_fault_of_the_packet(tansu: str, server: RegistryServer, tmp_path: Path) -> None:
    """An id that no registry counts up to is dead-lettered, and so is a truncated packet of a schema that the
    registry gave: neither holds up its partition."""
    server.add(NEWER_ID, newer_schema())
    damaged = b"\x00\xff\xff\xff\xff" + bytes(100)
    cut = lsst(3, NEWER_ID)[:-40]
    settings = start(tansu, tmp_path, server, [[lsst(1, NEWER_ID), damaged, cut, lsst(2, NEWER_ID)]])
    member = Member(settings, "one")
    try:
        step_until_stamped(settings, [member], 2)
    finally:
        member.consumer.close()
    internal = settings.internal
    letters = [DeadLetter.from_bytes(m.value() or b"") for m in read_topic(internal, internal.dead_letter_topic)]
    found = [(letter.reason, letter.schema_id) for letter in letters]
    assert found == [("unknown_framing", None), ("bad_avro", NEWER_ID)]
    assert len(server.requests) == 1

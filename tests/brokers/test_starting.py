"""Where a worker starts when the broker has forgotten its group, dropped its records, or has another topic."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from broker_plugin.accounts.ledger import ABSENT, EXPIRED
from broker_plugin.demo.demo import send, total
from broker_plugin.kafka.client import AckedProducer, client_config
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from broker_plugin.worker.starting import LATEST, Start, ledger_positions, list_offsets
from schemas.decode import PacketDecoder
from schemas.outcome import Stamped
from schemas.synthetic import generate_packets
from tests.brokers.support import Accounts, Run

pytestmark = pytest.mark.timeout(180)


def packets_of(seed: int, num_objects: int = 6, num_frames: int = 8) -> list[bytes]:
    return [p.payload for p in generate_packets(seed=seed, num_objects=num_objects, num_frames=num_frames)]


def admin_of(run: Run) -> AdminClient:
    return AdminClient(client_config(run.settings.internal))


def patiently(call: Callable[[], object]) -> None:
    """Call until the broker agrees: a group's last member leaves, and a topic goes, a moment after it was said."""
    deadline = time.monotonic() + 30
    while True:
        try:
            call()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return


def forget(run: Run, *groups: str) -> None:
    """The broker forgets these groups, as one does some time after their last member left."""
    admin = admin_of(run)
    for group in groups:
        patiently(lambda group=group: admin.delete_consumer_groups([group])[group].result(10))


def make_input(run: Run) -> None:
    """The topics, the input topic with two partitions among them."""
    create_topics(run.settings.internal, run.settings.output)
    (topic,) = run.settings.input.topics
    admin = admin_of(run)
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(10)


def recreate(run: Run, topic: str, partitions: int) -> None:
    """Delete a topic and create it again under its name."""
    admin = admin_of(run)
    admin.delete_topics([topic])[topic].result(10)
    patiently(lambda: admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10))


def num_stamps(run: Run) -> int:
    internal = run.settings.internal
    return sum(1 for _ in read_topic(internal, internal.stamp_log_topic))


def test_a_forgotten_group_goes_on_after_the_ledger(broker: str, tmp_path: Path) -> None:
    """Both groups are deleted between two runs: every packet is stamped once and every trigger published once."""
    run = Run(broker, tmp_path)
    first, second = packets_of(1), packets_of(2)
    make_input(run)
    with run.worker() as worker:
        send(run.settings, first)
        run.follow(worker, len(first))
    forget(run, run.settings.input.group, run.settings.internal.group)
    send(run.settings, second)
    with run.worker() as worker:
        accounts = run.follow(worker, len(first) + len(second))
    assert run.log.read_text().count("starting after the ledger's last") >= 2
    assert num_stamps(run) == len(first) + len(second)
    assert total(accounts, "classify", "duplicate") == 0
    values = run.values_by_trigger()
    assert len(values) == len(first) + len(second)
    assert all(len(of_trigger) == 1 for of_trigger in values.values())
    assert all(account.balanced for account in accounts.values())


@pytest.mark.kafka
def test_another_groups_ledger_and_another_topics_are_not_ours(kafka: str, tmp_path: Path) -> None:
    """Only an entry of the same group, role and topic id says where to go on."""
    run = Run(kafka, tmp_path)
    packets = packets_of(3, num_objects=2)
    make_input(run)
    with run.role("ingest") as process:
        send(run.settings, packets)
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == len(packets))
    internal, group = run.settings.internal, run.settings.input.group
    (topic,) = run.settings.input.topics
    topic_id = str(topic_id_of(run, topic))
    wanted = [Start(topic, partition, "", topic_id, None, 0, 0) for partition in (0, 1)]
    ours = ledger_positions(internal, wanted, role="ingest", group=group, since_ms=0)
    assert sum(ours.values()) == len(packets)
    assert ledger_positions(internal, wanted, role="ingest", group=group + "-2", since_ms=0) == {}
    assert ledger_positions(internal, wanted, role="classify", group=group, since_ms=0) == {}
    other = [Start(topic, 0, "", "another", None, 0, 0)]
    assert ledger_positions(internal, other, role="ingest", group=group, since_ms=0) == {}
    future_ms = int((time.time() + 3600) * 1000)
    assert ledger_positions(internal, wanted, role="ingest", group=group, since_ms=future_ms) == {}


def topic_id_of(run: Run, topic: str) -> object:
    admin = admin_of(run)
    return admin.describe_topics(TopicCollection([topic]))[topic].result(10).topic_id


@pytest.mark.kafka
def test_a_topic_recreated_while_ingest_is_down(kafka: str, tmp_path: Path) -> None:
    """The new topic is read from its start, whatever was done of the former one; the ledger keeps them apart."""
    run = Run(kafka, tmp_path)
    first, second = packets_of(4), packets_of(5)
    make_input(run)
    for packets, num in ((first, len(first)), (second, len(first) + len(second))):
        if packets is second:
            recreate(run, run.settings.input.topics[0], 2)
        with run.role("ingest") as process:
            send(run.settings, packets)
            accounts = run.await_accounts(process, lambda accounts, num=num: total(accounts, "ingest") == num)
    assert current(accounts, "ingest") == len(second)
    assert num_stamps(run) == len(first) + len(second)
    assert all(account.balanced for account in accounts.values())


@pytest.mark.kafka
def test_a_stamp_log_recreated_while_classify_is_down(kafka: str, tmp_path: Path) -> None:
    """The store of the former log is set aside, and the new log is classified from its start."""
    run = Run(kafka, tmp_path)
    packets = packets_of(4)
    make_input(run)
    with run.role("ingest") as process:
        send(run.settings, packets)
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == len(packets))
    internal = run.settings.internal
    with run.role("classify") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "classify") == len(packets))
    stamps = [(message.key(), message.value()) for message in read_topic(internal, internal.stamp_log_topic)]
    recreate(run, internal.stamp_log_topic, internal.partitions)
    producer = AckedProducer(internal, run.settings.worker, max_message_bytes=internal.max_message_bytes)
    for key, value in stamps[: len(stamps) // 2]:
        producer.produce(internal.stamp_log_topic, key=key, value=value)
    producer.flush()
    with run.role("classify") as process:
        accounts = run.await_accounts(
            process, lambda accounts: current(accounts, "classify") == len(stamps) // 2 < total(accounts, "classify")
        )
    assert "store set aside" in run.log.read_text()
    assert all(account.balanced for account in accounts.values())


def current(accounts: Accounts, role: str) -> int:
    """Offsets of a role on topics as they are now."""
    return total({key: account for key, account in accounts.items() if "@" not in key[1]}, role)


@pytest.mark.kafka
def test_a_topic_recreated_under_a_running_worker_stops_it(kafka: str, tmp_path: Path) -> None:
    """The worker ends with status 1 and says why; started again it reads the new topic from its start."""
    run = Run(kafka, tmp_path)
    first, second = packets_of(6), packets_of(7, num_objects=12)
    make_input(run)
    with run.worker() as worker:
        send(run.settings, first)
        run.follow(worker, len(first))
        recreate(run, run.settings.input.topics[0], 2)
        send(run.settings, second)
        assert worker.wait(40) == 1
    assert "was deleted and created again" in run.log.read_text()
    with run.worker() as worker:
        run.await_accounts(worker, lambda accounts: seen_in_log(run) == set(first) | set(second))


def seen_in_log(run: Run) -> set[bytes]:
    """The packets whose observation is on the stamp log, by what ingest makes of them."""
    internal = run.settings.internal
    values = {message.value() for message in read_topic(internal, internal.stamp_log_topic)}
    decoder = PacketDecoder()
    packets = [*packets_of(6), *packets_of(7, num_objects=12)]
    found = set()
    for packet in packets:
        outcome = decoder.decode(packet)
        assert isinstance(outcome, Stamped)
        if outcome.fact.to_bytes() in values:
            found.add(packet)
    return found


@pytest.mark.kafka
def test_expired_records_are_reported(kafka: str, tmp_path: Path) -> None:
    """Records that the log dropped before they were read are logged, and entered as absent: expired."""
    run = Run(kafka, tmp_path)
    first, second = packets_of(8), packets_of(9)
    make_input(run)
    with run.role("ingest") as process:
        send(run.settings, first[:10])
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == 10)
    send(run.settings, second)
    (topic,) = run.settings.input.topics
    ends = {0: log_end(run, topic, 0), 1: log_end(run, topic, 1)}
    places = [TopicPartition(topic, partition, end - 1) for partition, end in ends.items()]
    admin = admin_of(run)
    for deleted in admin.delete_records(places).values():
        deleted.result(10)
    with run.role("ingest") as process:
        accounts = run.await_accounts(process, lambda accounts: total(accounts, "ingest") == 10 + len(second))
    assert "log gap: records expired before they were read" in run.log.read_text()
    expired = sum(account.counts[ABSENT, EXPIRED] for account in accounts.values())
    assert expired == len(second) - 2
    assert total(accounts, "ingest", "stamped") == 12
    assert all(account.balanced for account in accounts.values())


def log_end(run: Run, topic: str, partition: int) -> int:
    found = list_offsets(run.settings.input, [TopicPartition(topic, partition)], LATEST)
    return int(found[topic, partition].offset)

"""A worker's life: a restart without a rebalance, new topics, a stop in the middle of the stream, wrong addresses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from broker_plugin.demo.demo import read_accounts, send, total
from broker_plugin.kafka.client import client_config
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from schemas.synthetic import generate_packets
from tests.brokers.support import Run

pytestmark = pytest.mark.timeout(180)


def packets_of(seed: int, num_objects: int, num_frames: int) -> list[bytes]:
    return [p.payload for p in generate_packets(seed=seed, num_objects=num_objects, num_frames=num_frames)]


def make_topic(run: Run, topic: str, partitions: int) -> None:
    admin = AdminClient(client_config(run.settings.input))
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(10)


def put(run: Run, topic: str, packets: list[bytes]) -> None:
    producer = Producer(client_config(run.settings.input))
    for packet in packets:
        producer.produce(topic, packet)
    assert producer.flush(30) == 0


def rebalances(port: int) -> dict[str, float]:
    """What a role says of its group."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False).text
    return {
        sample.labels["event"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "convention_rebalances_total"
    }


def metrics_port(log: Path) -> int:
    """Of the role that logs there."""
    for line in reversed(log.read_text().splitlines()):
        if '"event": "started"' in line:
            return int(json.loads(line)["metrics_port"])
    raise AssertionError(log.read_text())


@pytest.mark.kafka
def test_a_static_member_restarts_without_a_rebalance(kafka: str, tmp_path: Path) -> None:
    """With worker.instance_id set, a role that stops and comes back within the session timeout gets its partitions
    again, and the other member of the group never notices; every packet is done."""
    run = Run(
        kafka, tmp_path, "worker.session_timeout_ms=30000", "worker.heartbeat_interval_ms=500", "ingest.batch_size=5"
    )
    create_topics(run.settings.internal, run.settings.output)
    (topic,) = run.settings.input.topics
    make_topic(run, topic, 4)
    members = [run.changed(f'worker.instance_id="{name}"') for name in ("a", "b")]
    for member, name in zip(members, ("a", "b"), strict=True):
        member.log = tmp_path / f"{name}.log"
    packets = packets_of(51, 6, 10)
    with members[1].role("ingest"):
        await_event(members[1], "assigned")
        with members[0].role("ingest") as first:
            await_event(members[1], "revoked")
            put(run, topic, packets[:30])
            run_until(run, 30)
            before = rebalances(metrics_port(members[1].log))
            first.terminate()
            assert first.wait(30) == 0
        with members[0].role("ingest"):
            put(run, topic, packets[30:])
            run_until(run, 60)
            assert rebalances(metrics_port(members[1].log)) == before
    accounts = read_accounts(run.settings)
    assert total(accounts, "ingest", "stamped") == len(packets)
    assert all(account.balanced for account in accounts.values())


def await_event(member: Run, event: str) -> None:
    """Until the member was assigned its first partitions, or has given some to another."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        started = '"event": "started"' in member.log.read_text()
        if started and rebalances(metrics_port(member.log)).get(event, 0) >= 1:
            return
        time.sleep(0.2)
    raise AssertionError(member.log.read_text())


def run_until(run: Run, num_packets: int) -> None:
    """Until the ledger has so many packets."""
    deadline = time.monotonic() + 60
    while total(read_accounts(run.settings), "ingest") < num_packets:
        assert time.monotonic() < deadline, read_accounts(run.settings)
        time.sleep(0.2)


def test_a_topic_a_night_is_found_by_its_pattern(broker: str, tmp_path: Path) -> None:
    """Topics that match input.topics are read, whether they are there at start or come later; others are not."""
    run = Run(broker, tmp_path)
    prefix = run.settings.internal.topic_prefix
    run = run.changed(f'input.topics=["^{prefix}_[0-9]+_programid1$"]', "input.topic_refresh_s=1")
    create_topics(run.settings.internal, run.settings.output)
    nights = [f"{prefix}_{night}_programid1" for night in (20260101, 20260102)]
    packets = packets_of(52, 4, 6)
    make_topic(run, nights[0], 2)
    make_topic(run, f"{prefix}_20260101_programid2", 1)
    put(run, f"{prefix}_20260101_programid2", packets)
    put(run, nights[0], packets[:12])
    with run.role("ingest") as process:
        run.await_accounts(process, lambda accounts: total(accounts, "ingest") == 12)
        make_topic(run, nights[1], 2)
        put(run, nights[1], packets[12:])
        accounts = run.await_accounts(process, lambda accounts: total(accounts, "ingest") == len(packets))
    assert {topic for role, topic, _ in accounts if role == "ingest"} == set(nights)
    assert all(account.balanced for account in accounts.values())


def test_a_stop_in_mid_stream_drains(broker: str, tmp_path: Path) -> None:
    """SIGTERM to the worker: status 0 within the deadline, the batch in hand is finished and committed, so that after
    a restart nothing is done twice."""
    run = Run(broker, tmp_path, "ingest.batch_size=10", "classify.batch_size=10", "worker.drain_deadline_s=15")
    packets = packets_of(53, 20, 10)
    create_topics(run.settings.internal, run.settings.output)
    with run.worker() as worker:
        send(run.settings, packets)
        run.await_accounts(worker, lambda accounts: total(accounts, "classify") >= 30)
        asked = time.monotonic()
        worker.terminate()
        assert worker.wait(60) == 0
        assert time.monotonic() - asked < 15
    assert run.log.read_text().count('"event": "stopped"') == 2
    with run.worker() as worker:
        accounts = run.follow(worker, len(packets))
    internal = run.settings.internal
    assert sum(1 for _ in read_topic(internal, internal.stamp_log_topic)) == len(packets)
    assert total(accounts, "classify", "duplicate") == 0
    values = run.values_by_trigger()
    assert len(values) == len(packets)
    assert all(len(of_trigger) == 1 for of_trigger in values.values())

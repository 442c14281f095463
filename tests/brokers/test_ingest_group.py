"""The ingest role inside a consumer group that moves on without it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_plugin.demo.demo import read_accounts, send, total, worker_flags
from broker_plugin.kafka.client import ENVELOPE_BYTES, AckedProducer, make_consumer
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import create_topics
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.telemetry.metrics import IngestMetrics, worker_registry
from broker_plugin.worker.ingest import IngestRole
from schemas.dead_letter import DeadLetter
from schemas.surveys import SURVEYS
from schemas.synthetic import generate_packets

POLL_INTERVAL_MS = 2500


class SlowProducer(AckedProducer):
    """Sleeps once, after a flush, for longer than the group waits for a member."""

    sleep_s = 0.0

    def flush(self) -> None:
        super().flush()
        pause, self.sleep_s = self.sleep_s, 0.0
        time.sleep(pause)


class Member:
    """One ingest role, stepped by hand."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.assigned = False
        self.consumer = make_consumer(settings.input, settings.worker, group=settings.input.group, start="earliest")
        largest = settings.internal.max_message_bytes + ENVELOPE_BYTES
        self.producer = SlowProducer(settings.internal, settings.worker, max_message_bytes=largest)
        metrics = IngestMetrics(worker_registry(), surveys=[survey.name for survey in SURVEYS], version="0")
        self.role = IngestRole(
            settings, self.consumer, self.producer, metrics=metrics, instance=name, plugin_version="0"
        )
        self.role.subscribe(self._on_change)

    def _on_change(self, assigned: bool) -> None:
        self.assigned = assigned

    def step_until(self, done: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
        """Step until ``done()``; fails at the deadline."""
        deadline = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline, "not done in time"
            self.role.step()


def settings_for(address: str, folder: Path, *extra: str) -> Settings:
    settings = load_settings(flags=[*worker_flags(address, folder, embedded=True), *extra])
    create_topics(settings.internal, settings.output)
    return settings


@pytest.mark.kafka
def test_a_batch_that_outlives_its_membership_is_dropped(kafka: str, tmp_path: Path) -> None:
    """A member that was put out of the group mid-batch drops the batch, rejoins, and every packet is stamped."""
    settings = settings_for(
        kafka,
        tmp_path,
        f"worker.max_poll_interval_ms={POLL_INTERVAL_MS}",
        "worker.delivery_timeout_s=2",
        "ingest.batch_size=20",
    )
    packets = [packet.payload for packet in generate_packets(seed=1, num_objects=6, num_frames=10)]
    send(settings, packets)
    member = Member(settings, "slow")
    try:
        member.step_until(lambda: member.assigned)
        member.producer.sleep_s = POLL_INTERVAL_MS / 1000 * 2
        member.step_until(lambda: total(read_accounts(settings), "ingest", "stamped") >= len(packets))
    finally:
        member.consumer.close()
    accounts = read_accounts(settings)
    assert total(accounts, "ingest") == len(packets)
    assert all(account.balanced for account in accounts.values())


@pytest.mark.kafka
def test_a_dead_letter_keeps_the_largest_packet_allowed(kafka: str, tmp_path: Path) -> None:
    """A packet of exactly internal.max_message_bytes that cannot be read stays whole in its dead letter."""
    size = 200_000
    settings = settings_for(kafka, tmp_path, f"internal.max_message_bytes={size}")
    packet = b"no container".ljust(size, b"\x00")
    member = Member(settings, "one")
    try:
        # its producer takes more than the packet, so that the framing around the packet fits
        member.producer.produce(settings.input.topics[0], key=None, value=packet)
        member.producer.flush()
        member.step_until(lambda: total(read_accounts(settings), "ingest", "dead_letter") >= 1)
    finally:
        member.consumer.close()
    internal = settings.internal
    (letter,) = [DeadLetter.from_bytes(m.value() or b"") for m in read_topic(internal, internal.dead_letter_topic)]
    assert letter.payload == packet

"""What the topics that a worker makes are told to hold."""

from __future__ import annotations

import pytest
from confluent_kafka.cimpl import NewTopic

from broker_plugin.kafka import topics
from broker_plugin.settings.sources import load_settings


@pytest.mark.parametrize(("replication", "least"), [(1, None), (2, None), (3, "2")])
def test_what_is_acknowledged_is_on_two_brokers_where_there_are_three(
    replication: int, least: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three replicas: acknowledged means two in sync, so the loss of a leader loses nothing. With fewer, a broker
    that is away would stop production."""
    made: list[NewTopic] = []
    monkeypatch.setattr(topics, "create_topic", lambda _, topic: made.append(topic))
    monkeypatch.setattr(topics, "num_partitions", lambda *_: settings.internal.partitions)
    settings = load_settings(flags=[f"{name}.replication={replication}" for name in ("internal", "output")])
    topics.create_topics(settings.internal, settings.output, shadow=True)
    assert len(made) == 5
    assert {topic.config.get("min.insync.replicas") for topic in made} == {least}

"""Brokers for the tests: the embedded one and Apache Kafka, each started once and stopped at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker_plugin.kafka.embedded_broker import embedded_broker
from broker_plugin.testing.kafka_node import KafkaNode, kafka_home
from tests.brokers.slim_bundles import write_slim_bundles


@contextmanager
def apache_kafka(folder: Path, *, users: Mapping[str, str] | None = None) -> Iterator[KafkaNode]:
    """A started node; skips where there is no Apache Kafka."""
    home = kafka_home()
    if home is None:
        pytest.skip("no Apache Kafka in KAFKA_HOME, or no java")
    node = KafkaNode(home, folder, users=users)
    node.start()
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def slim_bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped bundles with one member each."""
    return write_slim_bundles(tmp_path_factory.mktemp("slim"))


@pytest.fixture(scope="session")
def slim_ztf(slim_bundles: list[Path]) -> Path:
    """ZTF's of them."""
    (path,) = [path for path in slim_bundles if "ztf" in path.name]
    return path


@pytest.fixture(autouse=True)
def workers_score_with_slim_bundles(slim_bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests ask of a worker does not depend on how many members score; the demo's and the documentation's
    run with the bundles as shipped."""
    monkeypatch.setenv("CONVENTION_CLASSIFY__BUNDLES", json.dumps([str(path) for path in slim_bundles]))


@pytest.fixture(scope="session")
def tansu() -> Iterator[str]:
    """Address of the embedded broker."""
    with embedded_broker() as address:
        yield address


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an Apache Kafka node."""
    with apache_kafka(tmp_path_factory.mktemp("kafka")) as node:
        yield node.address


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaNode]:
    """An Apache Kafka node that the test may kill."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    with apache_kafka(folder) as node:
        yield node


@pytest.fixture(
    params=[pytest.param("tansu", marks=pytest.mark.tansu), pytest.param("kafka", marks=pytest.mark.kafka)]
)
def broker(request: pytest.FixtureRequest) -> str:
    """Each broker in turn."""
    address: str = request.getfixturevalue(request.param)
    return address

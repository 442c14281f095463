"""Brokers for the tests: the embedded one and Apache Kafka, each started once and stopped at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker_plugin.embedded_broker import embedded_broker, free_port

ROOT = Path(__file__).parents[2]
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
message.max.bytes=8388608
"""


class KafkaNode:
    """One KRaft node of Apache Kafka on free loopback ports; it may be killed and started again on its data."""

    def __init__(self, home: Path, folder: Path) -> None:
        port, controller = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._java = ["java", "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/libs/*"]
        properties = folder / "server.properties"
        properties.write_text(PROPERTIES.format(port=port, controller=controller, folder=folder))
        tool = ["kafka.tools.StorageTool", "format", "-t", "conventionbrokertest22", "-c", str(properties)]
        subprocess.run([*self._java, *tool], check=True, capture_output=True, timeout=60)
        self._properties = properties
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self._folder / "kafka.log").open("ab") as log:
            command = [*self._java, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        _await(self.address, self._process)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, or SIGKILL when that takes too long."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def apache_kafka(folder: Path) -> Iterator[KafkaNode]:
    """A started node; skips where there is no Apache Kafka."""
    home = Path(os.environ.get("KAFKA_HOME") or ROOT / ".." / "shared" / "kafka")
    if not (home / "libs").is_dir() or shutil.which("java") is None:
        pytest.skip("no Apache Kafka in KAFKA_HOME, or no java")
    node = KafkaNode(home, folder)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Apache Kafka ended with status {process.returncode}"
        try:
            AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2)
        except KafkaException:
            time.sleep(0.3)
        else:
            return
    raise AssertionError("Apache Kafka did not answer within 60 s")


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

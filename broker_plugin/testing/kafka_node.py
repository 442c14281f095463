"""Apache Kafka nodes on loopback, for tests and benchmarks: they may be killed and started again on their data."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker_plugin.kafka.embedded_broker import free_port
from schemas.errors import BrokerError

START_S: Final = 90.0
STOP_S: Final = 30.0
_CLUSTER_ID: Final = "conventionbrokertest22"
_PROPERTIES: Final = """
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor={replication}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={min_isr}
min.insync.replicas={min_isr}
default.replication.factor={replication}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
message.max.bytes=8388608
"""
_SECURE: Final = """
listeners=SASL_PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


def kafka_home() -> Path | None:
    """Apache Kafka's folder: ``KAFKA_HOME``, default ../shared/kafka beside the checkout. None without it or Java."""
    home = Path(os.environ.get("KAFKA_HOME") or Path(__file__).parents[3] / "shared" / "kafka")
    return home if (home / "libs").is_dir() and shutil.which("java") is not None else None


@dataclass(frozen=True, slots=True)
class Seat:
    """A node's place in its cluster: its ports, and every node's number and controller."""

    node_id: int
    port: int
    controller: int
    voters: str
    num_nodes: int


def make_seats(num_nodes: int) -> list[Seat]:
    """Free loopback ports for the nodes of one cluster."""
    ports = [(free_port(), free_port()) for _ in range(num_nodes)]
    voters = ",".join(f"{number}@127.0.0.1:{controller}" for number, (_, controller) in enumerate(ports, 1))
    return [Seat(number, *own, voters, num_nodes) for number, own in enumerate(ports, 1)]


class KafkaNode:
    """One KRaft node on free loopback ports, its data in ``folder``; alone unless it has a seat in a cluster.

    users: passwords by name, ``admin`` among them; then clients must authenticate by SCRAM-SHA-512 and may do only
    what an access control list allows, ``admin`` everything.
    """

    def __init__(
        self, home: Path, folder: Path, *, users: Mapping[str, str] | None = None, seat: Seat | None = None
    ) -> None:
        seat = seat or make_seats(1)[0]
        self.address = f"127.0.0.1:{seat.port}"
        self._log = folder / "kafka.log"
        self._properties = folder / "server.properties"
        replication = min(3, seat.num_nodes)
        values = asdict(seat) | {"folder": folder, "replication": replication, "min_isr": max(1, replication - 1)}
        properties = _PROPERTIES.format(**values)
        if users is not None:
            properties = _overridden(properties, _SECURE.format(**values, password=users["admin"]))
        self._properties.write_text(properties)
        self._users = dict(users or {})
        self._java = ["java", "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/libs/*"]
        tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._properties)]
        for name, password in self._users.items():
            tool += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        subprocess.run([*self._java, *tool], check=True, capture_output=True, timeout=START_S)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers; BrokerError when it does not."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start; a node of a cluster answers once most of them are up."""
        with self._log.open("ab") as log:
            command = [*self._java, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def await_answer(self) -> None:
        """Wait until it answers; BrokerError when it ended or does not in time."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BrokerError(f"Apache Kafka ended with status {self._process.returncode}: see {self._log}")
            try:
                AdminClient(self.client("admin") | {"log_level": 0}).list_topics(timeout=2)
            except KafkaException:
                time.sleep(0.3)
            else:
                return
        raise BrokerError(f"Apache Kafka did not answer within {START_S} s: see {self._log}")

    def client(self, user: str) -> dict[str, Any]:
        """librdkafka's settings of a client, as ``user`` where the node knows users."""
        if not self._users:
            return {"bootstrap.servers": self.address}
        return {
            "bootstrap.servers": self.address,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self._users[user],
        }

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGTERM, or SIGKILL when that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()


class KafkaCluster:
    """Several KRaft nodes: topics have three replicas, of which two must take a message."""

    def __init__(self, home: Path, folder: Path, num_nodes: int) -> None:
        self.nodes = []
        for seat in make_seats(num_nodes):
            place = folder / f"node-{seat.node_id}"
            place.mkdir()
            self.nodes.append(KafkaNode(home, place, seat=seat))
        self.address = ",".join(node.address for node in self.nodes)

    def start(self) -> None:
        """Start all, and wait until each answers."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.await_answer()

    def stop(self) -> None:
        """SIGTERM, one after the other."""
        for node in self.nodes:
            node.stop()


def _overridden(properties: str, others: str) -> str:
    """``properties`` without the keys that ``others`` has, and ``others``."""
    keys = {line.partition("=")[0] for line in others.splitlines() if "=" in line}
    kept = [line for line in properties.splitlines() if line.partition("=")[0] not in keys]
    return "\n".join(kept) + others

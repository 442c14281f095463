"""Three connections, three users, each allowed no more than it needs: SASL/SCRAM and access control lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic, Producer

from broker_plugin.demo.demo import total
from broker_plugin.testing.kafka_node import KafkaNode
from schemas.synthetic import generate_packets
from tests.brokers.conftest import apache_kafka
from tests.brokers.support import Run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
USERS = {"admin": "admin-secret", "survey": "read-only", "core": "stamps", "writer": "answers"}
NUM_PACKETS = 40


def allow(node: KafkaNode, user: str, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    """Let a user do this to everything whose name starts so."""
    pattern = ResourcePatternType.LITERAL if kind == ResourceType.BROKER else ResourcePatternType.PREFIXED
    bindings = [
        AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for operation in operations
    ]
    admin = AdminClient(node.client("admin"))
    for future in admin.create_acls(bindings).values():
        future.result(30)


def grant_least(node: KafkaNode, prefix: str, *, exactly_once: bool) -> None:
    """What docs/security.md says each user needs."""
    topic, group = ResourceType.TOPIC, ResourceType.GROUP
    allow(node, "survey", topic, f"{prefix}.alerts", AclOperation.READ, AclOperation.DESCRIBE)
    allow(node, "survey", group, f"{prefix}-ingest", AclOperation.READ)
    own = (AclOperation.CREATE, AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
    for name in ("stamps", "dead-letters", "ledger"):
        allow(node, "core", topic, f"{prefix}.{name}", *own)
    allow(node, "core", group, f"{prefix}-classify", AclOperation.READ)
    # audits and replays read without a group of their own; Kafka asks for a name all the same
    allow(node, "core", group, "convention-reader", AclOperation.READ)
    published = (AclOperation.CREATE, AclOperation.WRITE, AclOperation.DESCRIBE)
    allow(node, "core" if exactly_once else "writer", topic, f"{prefix}.classifications", *published)
    if exactly_once:
        transaction = (AclOperation.WRITE, AclOperation.DESCRIBE)
        allow(node, "core", ResourceType.TRANSACTIONAL_ID, f"{prefix}-classify", *transaction)


def signed_in(section: str, user: str) -> list[str]:
    """Settings of a connection."""
    return [
        f'{section}.security_protocol="SASL_PLAINTEXT"',
        f'{section}.sasl_mechanism="SCRAM-SHA-512"',
        f'{section}.sasl_username="{user}"',
        f'{section}.sasl_password="{USERS[user]}"',
    ]


@pytest.mark.parametrize("exactly_once", [False, True], ids=["at-least-once", "exactly-once"])
def test_each_connection_needs_only_its_own_rights(tmp_path: Path, exactly_once: bool) -> None:
    """The worker runs with a read-only input user, a user of the internal topics and a write-only output user (with
    transactions, one user for both, allowed its transactional ids); its log names no password; a wrong password is
    one clear line and exit status 1."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    with apache_kafka(folder, users=USERS) as node:
        users = (("input", "survey"), ("internal", "core"), ("output", "core" if exactly_once else "writer"))
        secrets = [flag for section, user in users for flag in signed_in(section, user)]
        run = Run(node.address, tmp_path, *secrets, f"classify.exactly_once={str(exactly_once).lower()}")
        topic = run.settings.input.topics[0]
        grant_least(node, run.settings.internal.topic_prefix, exactly_once=exactly_once)
        admin = AdminClient(node.client("admin"))
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)
        producer = Producer(node.client("admin"))
        for packet in generate_packets(seed=51, num_objects=4, num_frames=NUM_PACKETS // 4):
            producer.produce(topic, packet.payload)
        assert producer.flush(30) == 0
        with run.worker() as worker:
            accounts = run.follow(worker, NUM_PACKETS)
        assert worker.returncode == 0
        assert total(accounts, "ingest", "stamped") == NUM_PACKETS
        assert not any(secret.encode() in run.log.read_bytes() for secret in USERS.values())
        wrong = run.changed('internal.sasl_password="wrong"')
        command = [sys.executable, "-m", "broker_plugin", "worker", "--role=classify"]
        command += [f"--set={flag}" for flag in wrong.flags]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert f"{node.address} (internal.bootstrap_servers)" in line
        assert "invalid credentials" in line

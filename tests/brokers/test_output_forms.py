"""What consumers of the output read: Confluent wire format through a registry, and the ELAsTiCC copy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from broker_plugin.demo.demo import send
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.messages import HEADER_INGEST_TIME, HEADER_TRIGGER_SOURCE_ID
from schemas.broker_classification import CLASS_IDS, NOT_CLASSIFIED_CLASS_ID, read_broker_body
from schemas.classification import Classification
from schemas.synthetic import generate_packets
from tests.brokers.support import Run
from tests.registry_server import RegistryServer, registry_server

WIRE_HEADER_SIZE = 5


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as found:
        yield found


def test_consumers_read_both_outputs(broker: str, server: RegistryServer, tmp_path: Path) -> None:
    """Through a registry, Confluent's own deserializer reads every record, under one id that was registered once. The
    ELAsTiCC copy has one message a record whose probabilities sum to 1, all on class 300 unless it is classified."""
    run = Run(
        broker,
        tmp_path,
        f'output.registry_url="{server.url}"',
        f'output.elasticc_topic="elasticc-{tmp_path.name}-{server.port}"',
        "output.elasticc_broker_name=tester",
    )
    packets = [packet.payload for packet in generate_packets(seed=11, num_objects=6, num_frames=8)]
    with run.worker() as worker:
        send(run.settings, packets)
        run.follow(worker, len(packets))
    assert worker.returncode == 0, run.log.read_text()
    output = run.settings.output
    assert [path for method, path in server.requests if method == "POST"] == [
        f"/subjects/{output.topic}-value/versions?normalize=False"
    ]
    read = AvroDeserializer(SchemaRegistryClient({"url": server.url}))
    context = SerializationContext(output.topic, MessageField.VALUE)
    records: dict[tuple[bytes, bytes], Classification] = {}
    for message in read_topic(output, output.topic):
        value = message.value() or b""
        headers = dict(message.headers() or ())
        record = records[headers["log-partition"], headers["log-offset"]] = Classification.from_body(
            value[WIRE_HEADER_SIZE:]
        )
        told = read(value, context)
        assert (told["object_id"], told["status"]) == (record.object_id, record.status.value)
    assert len(records) == len(packets)
    assert output.elasticc_topic is not None
    num_copies = num_classified = 0
    for message in read_topic(output, output.elasticc_topic):
        headers = dict(message.headers() or ())
        record = records[headers["log-partition"], headers["log-offset"]]
        copy = read_broker_body(message.value() or b"")
        probability = {entry["classId"]: entry["probability"] for entry in copy["classifications"]}
        assert math.isclose(sum(probability.values()), 1.0, abs_tol=1e-5)
        assert copy["diaSourceId"] == int(headers[HEADER_TRIGGER_SOURCE_ID])
        assert copy["brokerName"] == "tester"
        assert round(copy["brokerIngestTimestamp"].timestamp() * 1000) == int(headers[HEADER_INGEST_TIME])
        assert (probability[NOT_CLASSIFIED_CLASS_ID] == 1.0) == (record.predicted_class is None)
        if record.predicted_class is not None:
            assert max(probability, key=lambda key: probability[key]) == CLASS_IDS[record.predicted_class]
            num_classified += 1
        num_copies += 1
    assert num_copies == len(packets)
    assert 0 < num_classified < num_copies


@pytest.mark.tansu
def test_a_registry_that_refuses_stops_the_worker(tansu: str, server: RegistryServer, tmp_path: Path) -> None:
    """A schema that the registry refuses ends the worker with status 1 and one line that says so."""
    server.refuses = True
    run = Run(tansu, tmp_path, f'output.registry_url="{server.url}"')
    with run.role("classify") as role:
        assert role.wait(60) != 0
    assert "incompatible" in run.log.read_text()

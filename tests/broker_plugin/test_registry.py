"""The schema registry's client against a real HTTP server, and what records become with and without a registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from broker_plugin.kafka.registry import QUIET_S, Registry
from broker_plugin.settings.sections import OutputSettings, RegistrySettings
from schemas.errors import BrokerError, SchemaUnavailable
from tests.registry_server import RegistryServer, registry_server

SCHEMA = {"type": "record", "name": "alert", "fields": [{"name": "number", "type": "long"}]}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as found:
        yield found


class Clock:
    """A clock that stands until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_schema_is_fetched_once_and_kept(server: RegistryServer) -> None:
    """An id is asked for once; afterwards the registry may be down."""
    server.add(1102, SCHEMA)
    registry = Registry(RegistrySettings(registry_url=server.url))
    assert registry.schema(1102) == SCHEMA
    server.stop()
    assert registry.schema(1102) == SCHEMA
    assert len(server.requests) == 1


def test_a_registry_that_is_down_or_does_not_know_is_unavailable(server: RegistryServer) -> None:
    """Down, not knowing, and then knowing: the same id goes from SchemaUnavailable to its schema."""
    clock = Clock()
    registry = Registry(RegistrySettings(registry_url=server.url), now=clock)
    server.stop()
    with pytest.raises(SchemaUnavailable, match="does not answer"):
        registry.schema(1102)
    server.start()
    with pytest.raises(SchemaUnavailable, match="does not answer"):  # not asked again at once
        registry.schema(1102)
    assert not server.requests
    clock.now_s += 2 * QUIET_S
    with pytest.raises(SchemaUnavailable, match="answers 404"):
        registry.schema(1102)
    server.add(1102, SCHEMA)
    clock.now_s += 2 * QUIET_S
    assert registry.schema(1102) == SCHEMA


@pytest.mark.parametrize(
    ("schema", "more", "words"),
    [
        ("{", {}, "no JSON"),
        (["null"], {}, "no record schema"),
        ("message A {}", {"schemaType": "PROTOBUF"}, "PROTOBUF"),
        (SCHEMA, {"references": [{"name": "a", "subject": "a", "version": 1}]}, "refers to others"),
    ],
)
def test_what_is_no_avro_schema_is_unavailable(
    server: RegistryServer, schema: Any, more: dict[str, Any], words: str
) -> None:
    """An answer that is no single Avro record schema is never used, and the error says what it is."""
    server.add(7, schema, **more)
    with pytest.raises(SchemaUnavailable, match=words):
        Registry(RegistrySettings(registry_url=server.url)).schema(7)


def test_registering_gives_the_same_id_again(server: RegistryServer) -> None:
    """One schema has one id, whoever registers it."""
    first = Registry(OutputSettings(registry_url=server.url)).register("a-value", SCHEMA, patience_s=5)
    assert Registry(OutputSettings(registry_url=server.url)).register("a-value", SCHEMA, patience_s=5) == first
    assert server.subjects == {"a-value": [first, first]}


def test_a_refused_registration_ends_at_once(server: RegistryServer) -> None:
    """What the registry refuses is not repeated; what it does not answer is, until the patience ends."""
    server.refuses = True
    registry = Registry(OutputSettings(registry_url=server.url))
    with pytest.raises(BrokerError, match=r"a-value.*409.*incompatible"):
        registry.register("a-value", SCHEMA, patience_s=60)
    assert len(server.requests) == 1
    server.stop()
    with pytest.raises(BrokerError, match="does not answer"):
        registry.register("a-value", SCHEMA, patience_s=0.2)


@pytest.mark.parametrize("url", ["registry:8081", "ftp://registry", "http://user:word@registry:8081", ""])
def test_a_bad_url_is_refused(url: str) -> None:
    """Only http and https, and no user in the URL, which would print."""
    with pytest.raises(ValidationError, match="registry_username"):
        RegistrySettings(registry_url=url)


def test_user_and_password_go_together() -> None:
    """One without the other is refused, and the password does not print."""
    with pytest.raises(ValidationError, match="go together"):
        RegistrySettings(registry_username="me")
    settings = RegistrySettings(registry_username="me", registry_password=SecretStr("hunter2"))
    assert "hunter2" not in repr(settings)

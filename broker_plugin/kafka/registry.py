"""A Confluent-compatible schema registry, through confluent-kafka's own client.

A schema id means the same for ever, so that what was fetched or registered once is never asked for again: an outage
stops nothing but ids that this process has not met.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog

from broker_plugin.settings.sections import RegistrySettings
from schemas.errors import BrokerError, SchemaUnavailable, SettingsError

TIMEOUT_S: Final = 5.0
# An id that was just asked for in vain is not asked for again at once: every partition of a topic meets it.
QUIET_S: Final = 0.5
REGISTER_RETRY_S: Final = 1.0
AVRO: Final = "AVRO"
_Result = TypeVar("_Result")

log = structlog.get_logger(__name__)


class RegistryError(Exception):
    """A request failed; the text says how. ``refused``: the registry answered, and repeating it is no use."""

    def __init__(self, detail: str, *, refused: bool) -> None:
        super().__init__(detail)
        self.refused = refused


class Registry:
    """One registry. ``now``: a monotonic clock, s. SettingsError for a URL that the client does not take.

    It is the ``SchemaResolver`` of the packet decoder.
    """

    def __init__(self, settings: RegistrySettings, *, now: Callable[[], float] = time.monotonic) -> None:
        from confluent_kafka.schema_registry import SchemaRegistryClient

        assert settings.registry_url is not None
        self.url = settings.registry_url
        config: dict[str, Any] = {"url": self.url, "timeout": TIMEOUT_S, "max.retries": 0}
        if settings.registry_username is not None and settings.registry_password is not None:
            password = settings.registry_password.get_secret_value()
            config["basic.auth.user.info"] = f"{settings.registry_username}:{password}"
        try:
            self._client = SchemaRegistryClient(config)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"registry_url {self.url}: {error}") from error
        self._now = now
        self._schemas: dict[int, dict[str, Any]] = {}
        self._failed: dict[int, tuple[float, str]] = {}

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The Avro schema of an id as JSON; SchemaUnavailable when the registry cannot or does not give one."""
        found = self._schemas.get(schema_id)
        if found is None:
            failed_s, detail = self._failed.get(schema_id, (0.0, ""))
            if detail and self._now() < failed_s + QUIET_S:
                raise SchemaUnavailable(schema_id, detail)
            try:
                found = self._fetch(schema_id)
            except RegistryError as error:
                self._failed[schema_id] = (self._now(), str(error))
                raise SchemaUnavailable(schema_id, str(error)) from error
            self._schemas[schema_id] = found
            self._failed.pop(schema_id, None)
            log.info("schema fetched", schema_id=schema_id, name=found.get("name"))
        return found

    def _fetch(self, schema_id: int) -> dict[str, Any]:
        answer = self._request(lambda: self._client.get_schema(schema_id))
        if (answer.schema_type or AVRO) != AVRO or answer.references:
            kind = answer.schema_type if not answer.references else "a schema that refers to others"
            raise RegistryError(f"{self.url} has {kind} for it, expected one Avro schema", refused=True)
        try:
            found = json.loads(answer.schema_str or "")
        except (ValueError, TypeError, RecursionError) as error:
            raise RegistryError(f"{self.url} has no JSON for it: {error}", refused=True) from error
        if not isinstance(found, dict):
            raise RegistryError(f"{self.url} has no record schema for it", refused=True)
        return found

    def register(self, subject: str, schema: dict[str, Any], *, patience_s: float) -> int:
        """The id of ``schema`` under ``subject``, registered if it is new.

        BrokerError when the registry refuses it, or does not answer for ``patience_s``.
        """
        from confluent_kafka.schema_registry import Schema

        deadline = self._now() + patience_s
        while True:
            try:
                return int(
                    self._request(lambda: self._client.register_schema(subject, Schema(json.dumps(schema), AVRO)))
                )
            except RegistryError as error:
                if error.refused or self._now() + REGISTER_RETRY_S > deadline:
                    raise BrokerError(f"schema registry, subject {subject}: {error}") from error
                log.warning("schema registry does not answer, trying again", detail=str(error))
                time.sleep(REGISTER_RETRY_S)

    def _request(self, request: Callable[[], _Result]) -> _Result:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return request()
        except SchemaRegistryError as error:
            detail = f"{self.url} answers {error.http_status_code}: {str(error.error_message)[:200]}"
            raise RegistryError(detail, refused=400 <= error.http_status_code < 500) from error
        except _transport_errors() as error:
            detail = f"{self.url} does not answer: {type(error).__name__}: {str(error)[:200]}"
            raise RegistryError(detail, refused=False) from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client raises when the registry cannot be reached or answers nonsense: it speaks HTTP through httpx,
    under the name of httpx2 in newer versions."""
    found: list[type[Exception]] = [OSError, ValueError, TypeError, KeyError, AttributeError]
    try:
        import httpx2

        found.append(httpx2.HTTPError)
    except ImportError:
        pass
    try:
        import httpx

        found.append(httpx.HTTPError)
    except ImportError:
        pass
    return tuple(found)

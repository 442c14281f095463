"""Packets to stamp-log values, as the ingest role makes them, here or in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from broker_plugin.replay.processes import Handler, Helper, helper_process, num_processors
from broker_plugin.settings.sections import Settings
from broker_plugin.telemetry.metrics import DEAD_LETTER, FILTERED, STAMPED
from broker_plugin.worker.ingest import packet_decoder
from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SchemaUnavailable
from schemas.observation import Observation, log_key
from schemas.outcome import Filtered

NO_SCHEMA: Final = "schema_unavailable"
# settings of the ingest section that the observations depend on
INGEST_KEYS: Final = frozenset({"programids", "min_reliability", "reject_moving", "sky", "keep_native"})


@dataclass(frozen=True, slots=True)
class StampedPacket:
    """A stamp-log message, and what a record says of its trigger. flux: None where it is not stated."""

    key: bytes
    value: bytes
    source_id: str
    mjd: float
    band: str
    flux_njy: float | None
    flux_err_njy: float | None


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """What became of one packet: ``stamped`` (None unless the outcome is STAMPED), or a reason, and for a dead letter
    the detail."""

    outcome: str
    reason: str | None = None
    detail: str | None = None
    stamped: StampedPacket | None = None


class Decoder(Protocol):
    """Takes one batch at a time: ``submit``, and then ``result`` before the next."""

    def submit(self, payloads: Sequence[bytes]) -> None:
        """Start on a batch."""

    def result(self) -> list[DecodedPacket]:
        """What became of each packet of the batch, in order."""


class LocalDecoder:
    """Decodes in this process, when asked for the result."""

    def __init__(self, decoder: PacketDecoder) -> None:
        self._decoder = decoder
        self._payloads: Sequence[bytes] = ()

    def submit(self, payloads: Sequence[bytes]) -> None:
        """See Decoder."""
        self._payloads = payloads

    def result(self) -> list[DecodedPacket]:
        """See Decoder."""
        payloads, self._payloads = self._payloads, ()
        return decode_packets(self._decoder, payloads)


class ProcessDecoder:
    """Decodes in another process while this one does something else."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    def submit(self, payloads: Sequence[bytes]) -> None:
        """See Decoder."""
        self._helper.send(list(payloads))

    def result(self) -> list[DecodedPacket]:
        """See Decoder."""
        decoded: list[DecodedPacket] = self._helper.receive()
        return decoded


def open_decoder(settings: Settings, stack: ExitStack, *, local: bool = False) -> Decoder:
    """Decoding as ingest does it, until ``stack`` ends; unless ``local``, in a process of its own where there is a
    processor for it."""
    make = partial(packet_decoder, settings.ingest, settings.input)
    if local or num_processors() < 2:
        return LocalDecoder(make())
    return ProcessDecoder(stack.enter_context(helper_process(partial(_make_handler, make))))


def _make_handler(make_decoder: Callable[[], PacketDecoder]) -> Handler:
    return partial(decode_packets, make_decoder())


def decode_packets(decoder: PacketDecoder, payloads: Sequence[bytes]) -> list[DecodedPacket]:
    """What becomes of each packet, in order."""
    return [_decode(decoder, payload) for payload in payloads]


def _decode(decoder: PacketDecoder, payload: bytes) -> DecodedPacket:
    try:
        outcome = decoder.decode(payload)
    except PacketError as error:
        return DecodedPacket(DEAD_LETTER, error.reason.value, error.detail)
    except SchemaUnavailable as error:  # a worker waits for the schema; an archive goes on, and says so
        return DecodedPacket(DEAD_LETTER, NO_SCHEMA, str(error))
    if isinstance(outcome, Filtered):
        return DecodedPacket(FILTERED, outcome.reason.value)
    fact = outcome.fact
    flux, error_njy = math.nan, math.nan
    if isinstance(fact, Observation):
        flux, error_njy = fact.diff_flux_njy, fact.diff_flux_err_njy
    stamped = StampedPacket(
        key=log_key(fact.survey, fact.object_id),
        value=fact.to_bytes(),
        source_id=fact.source_id,
        mjd=fact.mjd,
        band=fact.band,
        flux_njy=flux if math.isfinite(flux) else None,
        flux_err_njy=error_njy if math.isfinite(error_njy) else None,
    )
    return DecodedPacket(STAMPED, stamped=stamped)


def any_readable(counts: Mapping[str, int]) -> bool:
    """Whether any packet could be decoded, by the counts of ``outcome_name``."""
    readable = tuple(outcome_name("ingest", outcome, None) for outcome in (STAMPED, FILTERED))
    return any(name.startswith(readable) and count for name, count in counts.items())


def outcome_name(role: str, outcome: str, reason: str | None) -> str:
    """Under which an outcome is counted: ``role.outcome`` or ``role.outcome:reason``."""
    return f"{role}.{outcome}" if reason is None else f"{role}.{outcome}:{reason}"

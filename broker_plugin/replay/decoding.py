"""Packets to stamp-log values, as the ingest role makes them, here or in a process of its own."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, Protocol

from broker_plugin.ingest import packet_decoder
from broker_plugin.metrics import DEAD_LETTER, FILTERED, STAMPED
from broker_plugin.settings import Settings
from schemas.decode import PacketDecoder
from schemas.errors import ConventionError, PacketError, SchemaUnavailable
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
    """Decodes in another process while this one classifies. ConventionError when that process ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, payloads: Sequence[bytes]) -> None:
        """See Decoder."""
        with _mapped():
            self._connection.send(list(payloads))

    def result(self) -> list[DecodedPacket]:
        """See Decoder."""
        with _mapped():
            decoded: list[DecodedPacket] = self._connection.recv()
        return decoded


@contextmanager
def decoding_process(make_decoder: Callable[[], PacketDecoder]) -> Iterator[ProcessDecoder]:
    """A process that decodes until the context ends, or until this process does, however it ends.

    make_decoder: a function of a module, or a partial of one, since it travels to the other process.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make_decoder), daemon=True)
    process.start()
    theirs.close()  # the only other end is the child's, so that either side sees the other's end
    try:
        yield ProcessDecoder(ours)
    finally:
        ours.close()
        process.join()


def open_decoder(settings: Settings, stack: ExitStack) -> Decoder:
    """Decoding as ingest does it, in a process of its own where there is a processor for it, until ``stack`` ends."""
    make = partial(packet_decoder, settings.ingest, settings.input)
    if len(os.sched_getaffinity(0)) < 2:
        return LocalDecoder(make())
    return stack.enter_context(decoding_process(make))


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise ConventionError("the decoding process ended: start again to go on from the checkpoint") from error


def _serve(connection: Connection, make_decoder: Callable[[], PacketDecoder]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's, meant for the process that owns this one
    decoder = make_decoder()
    while True:
        try:
            payloads = connection.recv()
            connection.send(decode_packets(decoder, payloads))
        except (EOFError, OSError):
            return


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


def outcome_name(role: str, outcome: str, reason: str | None) -> str:
    """Under which an outcome is counted: ``role.outcome`` or ``role.outcome:reason``."""
    return f"{role}.{outcome}" if reason is None else f"{role}.{outcome}:{reason}"

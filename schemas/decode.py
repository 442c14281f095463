"""Packet bytes to outcome: the one place where a packet is read, whatever the use."""

from __future__ import annotations

from schemas.avro import AvroRecord, SchemaResolver
from schemas.cuts import Cuts
from schemas.errors import DeadLetterReason, FilterReason, PacketError, Stage
from schemas.observation import Withdrawal
from schemas.outcome import Filtered, Identity, Outcome, Stamped
from schemas.surveys import SURVEYS
from schemas.surveys.base import PacketHeader, Survey
from schemas.wire import PacketReader


def survey_of(packet: AvroRecord) -> Survey:
    """The survey a decoded record belongs to; PacketError (unknown_survey) when no survey knows it."""
    for survey in SURVEYS:
        if survey.owns(packet.schema_name, packet.record):
            return survey
    detail = f"schema {packet.schema_name!r:.80} is of none of {', '.join(survey.name for survey in SURVEYS)}"
    raise PacketError(DeadLetterReason.UNKNOWN_SURVEY, Stage.FIELDS, detail)


class PacketDecoder:
    """Decodes messages of one packet each. Cuts are asked before any cutout is touched."""

    def __init__(
        self, *, cuts: Cuts | None = None, keep_native: bool = False, resolver: SchemaResolver | None = None
    ) -> None:
        """``resolver`` finds the schemas of Confluent ids that are not bundled."""
        self._cuts = Cuts() if cuts is None else cuts
        self._keep_native = keep_native
        self._reader = PacketReader(resolver)

    def decode(self, payload: bytes) -> Outcome:
        """What one packet becomes.

        PacketError when it is at fault; SchemaUnavailable, which is no fault of the packet, when its Confluent schema
        id is neither bundled nor to be had; and nothing else.
        """
        return self.decode_record(self._reader.read(payload))

    def read_header(self, payload: bytes) -> PacketHeader:
        """Identity and cut fields alone; errors as ``decode``."""
        packet = self._reader.read(payload)
        return survey_of(packet).read_header(packet.record, packet.schema_name)

    def decode_record(self, packet: AvroRecord) -> Outcome:
        """The same for a record that is already read."""
        try:
            return self._outcome(packet)
        except PacketError as error:
            error.schema_id = packet.schema_id
            raise

    def _outcome(self, packet: AvroRecord) -> Outcome:
        survey = survey_of(packet)
        header = survey.read_header(packet.record, packet.schema_name)
        if header.withdrawn_mjd is not None and header.identity.object_id is not None:
            # before the cuts: what once passed them may not pass now, and has to be taken back all the same
            return Stamped(header.identity, _withdrawal(header.identity, header.withdrawn_mjd))
        reason = self._cuts.reason(header)
        if reason is not None:
            return Filtered(header.identity, reason)
        if survey.read_observation is None:
            return Filtered(header.identity, FilterReason.DECODE_ONLY)
        if header.identity.object_id is None:  # whatever the cuts: it belongs to no sequence
            return Filtered(header.identity, FilterReason.MOVING_OBJECT)
        return Stamped(header.identity, survey.read_observation(packet.record, header, self._keep_native))


def _withdrawal(identity: Identity, withdrawn_mjd: float) -> Withdrawal:
    assert identity.object_id is not None
    assert identity.source_id is not None
    assert identity.mjd is not None
    assert identity.band is not None
    return Withdrawal(
        survey=identity.survey,
        object_id=identity.object_id,
        source_id=identity.source_id,
        mjd=identity.mjd,
        band=identity.band,
        withdrawn_mjd=withdrawn_mjd,
    )

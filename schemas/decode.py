"""Packet bytes to outcome: the one place where a packet is read, whatever the use."""

from __future__ import annotations

from schemas.avro import AvroRecord, read_container
from schemas.cuts import Cuts
from schemas.errors import DeadLetterReason, FilterReason, PacketError, Stage
from schemas.outcome import Filtered, Outcome, Stamped
from schemas.surveys import SURVEYS
from schemas.surveys.base import HISTORIES, Survey


def survey_of(packet: AvroRecord) -> Survey:
    """The survey a decoded record belongs to; PacketError (unknown_survey) when no survey knows it."""
    for survey in SURVEYS:
        if survey.owns(packet.schema_name, packet.record):
            return survey
    detail = f"schema {packet.schema_name!r:.80} is of none of {', '.join(survey.name for survey in SURVEYS)}"
    raise PacketError(DeadLetterReason.UNKNOWN_SURVEY, Stage.FIELDS, detail)


class PacketDecoder:
    """Decodes messages of one packet each. Cuts are asked before any cutout is touched."""

    def __init__(self, *, cuts: Cuts | None = None, keep_native: bool = False) -> None:
        self._cuts = Cuts() if cuts is None else cuts
        self._keep_native = keep_native

    def decode(self, payload: bytes) -> Outcome:
        """What one packet becomes; PacketError, and nothing else, when it is at fault."""
        return self.decode_record(read_container(payload, unread=HISTORIES))

    def decode_record(self, packet: AvroRecord) -> Outcome:
        """The same for a record that is already read."""
        survey = survey_of(packet)
        header = survey.read_header(packet.record, packet.schema_name)
        reason = self._cuts.reason(header)
        if reason is not None:
            return Filtered(header.identity, reason)
        if survey.read_observation is None:
            return Filtered(header.identity, FilterReason.DECODE_ONLY)
        if not any(survey.cutouts(packet.record).values()):
            return Filtered(header.identity, FilterReason.NO_CUTOUTS)
        return Stamped(header.identity, survey.read_observation(packet.record, header, self._keep_native))

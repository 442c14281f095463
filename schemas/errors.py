"""The exception tree. Each class says whose fault it is, because that decides what happens next.

ConventionError
├── SettingsError            the operator's: a setting is wrong; exit status 2
├── PacketError              the packet's: it goes to the dead-letter topic, its neighbours go on
├── RecordError              one of our own records (stamp log, ledger, ...) cannot be read
├── SchemaUnavailable        a resource's: the schema id is unknown and no registry answered; retry
├── BundleError              the bundle's: refused at load, with the reason
├── InferenceError           the model's or the machine's: not even one sequence can be scored; exit status 1
├── StoreError               the local state's: it is damaged, or it belongs to another topic
│   └── StoreHeld            another process holds it
├── TrainingError            the data's or the recipe's: training cannot go on; the text names the batch
├── ArchiveError             the archive's: nothing of it is a packet; exit status 1
├── EvaluationError          the operator's: record files or a truth table cannot be used as they are
├── BrokerError              the broker's: retries are used up; exit status 1, a supervisor restarts
└── TooManyDeadLetters       the stream's or this version's: so many packets cannot be read that going on is no use
"""

from __future__ import annotations

from enum import StrEnum


class ConventionError(Exception):
    """Base of every error this project raises on purpose; its text is one clear line."""


class SettingsError(ConventionError):
    """A setting is unknown, ambiguous or out of range; the text names the key and its source."""


class Stage(StrEnum):
    """Where in the decoding of a packet a fault was found."""

    FRAMING = "framing"
    AVRO = "avro"
    FIELDS = "fields"
    CUTOUT = "cutout"
    CALIBRATION = "calibration"


class DeadLetterReason(StrEnum):
    """Why a packet cannot become an observation. Closed: these are metric labels."""

    EMPTY = "empty"
    UNKNOWN_FRAMING = "unknown_framing"
    BAD_CONTAINER = "bad_container"
    BAD_SCHEMA = "bad_schema"
    BAD_AVRO = "bad_avro"
    TRAILING_BYTES = "trailing_bytes"
    RECORD_COUNT = "record_count"
    UNKNOWN_SURVEY = "unknown_survey"
    UNSUPPORTED_VERSION = "unsupported_version"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    BAD_GZIP = "bad_gzip"
    NOT_FITS = "not_fits"
    BAD_FITS = "bad_fits"
    TOO_LARGE = "too_large"
    NO_CALIBRATION = "no_calibration"


class FilterReason(StrEnum):
    """Why a sound packet is left out on purpose. Closed: these are metric labels."""

    PROGRAMID = "programid"
    RELIABILITY = "reliability"
    MOVING_OBJECT = "moving_object"
    SKY = "sky"
    DECODE_ONLY = "decode_only"


class PacketError(ConventionError):
    """A fault of one packet: dead-lettered, never retried, never fatal to its batch.

    ``schema_id`` is the Confluent schema id when the packet stated one.
    """

    def __init__(self, reason: DeadLetterReason, stage: Stage, detail: str, *, schema_id: int | None = None) -> None:
        super().__init__(f"{stage}: {reason}: {detail}")
        self.reason = reason
        self.stage = stage
        self.detail = detail
        self.schema_id = schema_id


class RecordError(ConventionError):
    """Bytes that should hold one of our own records do not."""


class SchemaUnavailable(ConventionError):
    """A Confluent schema id is neither bundled nor to be had from the registry just now."""

    def __init__(self, schema_id: int, detail: str) -> None:
        super().__init__(f"schema id {schema_id} is not bundled and {detail}")
        self.schema_id = schema_id


class BundleError(ConventionError):
    """A model bundle is refused; the text says which check failed."""


class InferenceError(ConventionError):
    """A bundle cannot score a sequence even alone: the model or the machine is at fault, not the packet."""


class StoreError(ConventionError):
    """A stamp store file cannot be used: it is locked, or its identity does not match the topic."""


class StoreHeld(StoreError):
    """Another process holds the store file; it may let it go."""


class TrainingError(ConventionError):
    """Training cannot go on: a loss is not finite, or a class has no object; the text names the batch or the
    class."""


class ArchiveError(ConventionError):
    """Nothing could be read of an archive."""


class EvaluationError(ConventionError):
    """Record files or a truth table cannot be used as they are; the text names the file and what is wrong."""


class BrokerError(ConventionError):
    """Kafka did not do its part within the retries allowed."""


class TooManyDeadLetters(ConventionError):
    """More packets than the set share of a window were dead-lettered; exit status 1."""

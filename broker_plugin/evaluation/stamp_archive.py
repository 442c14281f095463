"""Stamp files: the stamp-log values that replay made, kept beside its records, and sequences read back from them.

``stamps*.avro`` are Avro containers of (key, offset, value), the value byte for byte what the stamp log would carry,
so that the sequence of a picture is the one that was classified.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import fastavro

from broker_plugin.evaluation.record_files import list_parts, read_rows
from schemas.bands import BAND_IDS
from schemas.errors import RecordError
from schemas.observation import Observation, content_digest, log_key, read_fact
from schemas.sequence import StampSequence, build_sequence
from schemas.view import FactKey, ViewRule, select_view, view_digest

STAMP_STEM: Final = "stamps"
# A picture shows what the object has; the bundle's own bounds only limit what was classified.
MAX_FRAMES: Final = 120

SequenceProvider = Callable[[str, str], StampSequence | None]
"""(survey, object id) -> the object's sequence, None where its stamps are not to be had."""


@cache
def stamp_schema() -> Any:
    """The Avro schema of a stamp file, parsed."""
    return fastavro.parse_schema(
        {
            "type": "record",
            "name": "StampLogValue",
            "namespace": "convention.v1",
            "fields": [
                {"name": "key", "type": "bytes", "doc": "survey:object_id"},
                {"name": "offset", "type": "long", "doc": "place in the stamp log, or in the archive"},
                {"name": "value", "type": "bytes", "doc": "an observation or a withdrawal, single-object encoding"},
            ],
        }
    )


@dataclass(frozen=True, slots=True)
class StampLogValue:
    """One value of the stamp log with its key and place."""

    key: bytes
    offset: int
    value: bytes

    def to_row(self) -> dict[str, Any]:
        """The row of a stamp file."""
        return {"key": self.key, "offset": self.offset, "value": self.value}


def read_stamps(path: Path) -> Iterator[StampLogValue]:
    """Every value of a stamp file or of a folder's stamp files, in order, as a stream."""
    for part in list_parts(path, STAMP_STEM):
        for row in read_rows(part):
            try:
                yield StampLogValue(**row)
            except TypeError as error:
                raise RecordError(f"{part}: not a stamp file: fields {sorted(row)}") from error


def has_stamps(path: Path) -> bool:
    """Whether a folder holds stamp files."""
    return path.is_dir() and any(path.glob(f"{STAMP_STEM}*.avro"))


def load_sequences(
    path: Path, objects: Collection[tuple[str, str]], *, rule: ViewRule | None = None
) -> SequenceProvider:
    """A provider of the sequences of some objects, all read in one pass; other objects' stamps are not kept.

    rule: what a bundle sees of them, instead of all there is to show.
    """
    wanted = {log_key(survey, object_id) for survey, object_id in objects}
    values: dict[bytes, list[StampLogValue]] = defaultdict(list)
    for stamp in read_stamps(path):
        if stamp.key in wanted:
            values[stamp.key].append(stamp)

    def provide(survey: str, object_id: str) -> StampSequence | None:
        return sequence_of(survey, object_id, values.get(log_key(survey, object_id), []), rule=rule)

    return provide


def sequence_of(
    survey: str, object_id: str, stamps: list[StampLogValue], *, rule: ViewRule | None = None
) -> StampSequence | None:
    """The object's newest MAX_FRAMES frames of every band on the grid of its first frame, or what ``rule`` admits;
    None when it has no frame."""
    facts: list[FactKey] = []
    observations: dict[tuple[str, bytes], Observation] = {}
    for stamp in sorted(stamps, key=lambda value: value.offset):
        fact, digest = read_fact(stamp.value), content_digest(stamp.value)
        grid_id, num_valid = "", -1
        if isinstance(fact, Observation):
            observations[fact.source_id, digest] = fact
            grid_id, num_valid = fact.grid_id, fact.num_valid
        facts.append(FactKey(fact.source_id, digest, stamp.offset, fact.mjd, fact.band_id, grid_id, num_valid))
    if not observations:
        return None
    grid_id = next(iter(observations.values())).grid_id
    rule = rule or ViewRule(MAX_FRAMES, float("inf"), frozenset(BAND_IDS.values()), grid_id)
    view = select_view(facts, rule, at_offset=max(fact.first_offset for fact in facts))
    return build_sequence(
        survey,
        object_id,
        grid_id,
        [observations[fact.source_id, fact.digest] for fact in view],
        [fact.digest for fact in view],
        view_digest=view_digest(view),
    )

"""What an archive is made of: packets, and the damage that hides some of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a packet's bytes stand, verbatim, in an uncompressed file."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ArchivePacket:
    """One packet as one Kafka message would carry it.

    path: the file, for a member of a tar ``night.tar!member``; index: number within that file or member, from 0;
    payload: an Avro container of one record, or Confluent wire format; extent: None where the payload does not stand
    verbatim in a file (compressed, or cut out of a container of many records).
    """

    path: str
    index: int
    payload: bytes
    extent: Extent | None = None


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of an archive that could not be read and was skipped; detail says what is wrong and how much is lost."""

    path: str
    detail: str

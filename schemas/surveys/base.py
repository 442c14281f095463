"""What a survey module provides. A survey is one small module plus one line in the table of ``surveys/__init__``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.observation import Observation
from schemas.outcome import Identity

Record = Mapping[str, Any]
# An object's earlier detections hold no stamps, and reading them takes longer than all the rest of a packet: they are
# walked past, unread.
HISTORIES: Final = frozenset(
    {
        "prv_candidates",
        "fp_hists",
        "prvDiaSources",
        "prvDiaForcedSources",
        "prvDiaNondetectionLimits",
    }
)


@dataclass(frozen=True, slots=True)
class PacketHeader:
    """The cheap fields of a packet, enough for every cut: read before any cutout is touched.

    ra, dec: deg. reliability: 0 to 1, None when the packet has none. is_moving: a known moving object, or a packet
    that belongs to no static object. withdrawn_mjd: MJD (TAI) at which the survey took the source back.
    """

    identity: Identity
    ra: float
    dec: float
    programid: int | None = None
    reliability: float | None = None
    is_moving: bool = False
    withdrawn_mjd: float | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """One survey's packets.

    owns(schema_name, record): whether a decoded record is this survey's. read_header(record, schema_name): identity
    and cut fields. read_observation(record, header, keep_native): calibrated stamps on the survey's grid; None for
    a survey that is only decoded. cutouts(record): the raw cutout bytes by name (science, template, difference),
    None where the packet has none. All raise PacketError on a fault of the packet, and nothing else.
    """

    name: str
    grid_id: str | None
    owns: Callable[[str, Record], bool]
    read_header: Callable[[Record, str], PacketHeader]
    cutouts: Callable[[Record], dict[str, bytes | None]]
    read_observation: Callable[[Record, PacketHeader, bool], Observation] | None

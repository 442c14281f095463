"""What decoding one packet can lead to. Faults of a packet are raised (PacketError), not returned."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import FilterReason
from schemas.observation import Observation, Withdrawal


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a packet speaks of; any field may be None when the packet does not say.

    mjd: TAI days; survey_version: schema version as written, e.g. ``4.02`` or ``10.0``.
    """

    survey: str
    schema_name: str
    survey_version: str | None
    object_id: str | None
    source_id: str | None
    mjd: float | None
    band: str | None


@dataclass(frozen=True, slots=True)
class Stamped:
    """The packet became a fact for the stamp log."""

    identity: Identity
    fact: Observation | Withdrawal


@dataclass(frozen=True, slots=True)
class Filtered:
    """The packet is sound and is left out on purpose."""

    identity: Identity
    reason: FilterReason


Outcome = Stamped | Filtered

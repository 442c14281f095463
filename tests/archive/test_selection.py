"""Which packets a selection takes."""

from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.archive.selection import Cone, Selection
from schemas.outcome import Identity
from schemas.surveys.base import PacketHeader


def header(mjd: float | None = 60000.0, object_id: str | None = "A", ra: float = 10.0) -> PacketHeader:
    return PacketHeader(Identity("ztf", "ztf.alert", "4.02", object_id, "1", mjd, "g"), ra=ra, dec=0.0)


def test_no_condition_takes_all() -> None:
    """An empty selection takes any packet, and says that none needs to be looked at."""
    assert Selection().takes_all
    assert Selection().takes(header(None, None))


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(first_mjd=60000.0), True),
        (Selection(first_mjd=60000.1), False),
        (Selection(end_mjd=60000.0), False),
        (Selection(end_mjd=60000.1), True),
        (Selection(objects=frozenset({"A", "B"})), True),
        (Selection(objects=frozenset({"B"})), False),
        (Selection(surveys=frozenset({"lsst"})), False),
        (Selection(surveys=frozenset({"ztf"}), objects=frozenset({"A"})), True),
        (Selection(cone=Cone(10.5, 0.0, 0.6)), True),
        (Selection(cone=Cone(10.5, 0.0, 0.4)), False),
    ],
)
def test_each_condition(selection: Selection, taken: bool) -> None:
    """The first date is included and the end is not; objects, surveys and the cone each decide."""
    assert not selection.takes_all
    assert selection.takes(header()) is taken


def test_a_packet_that_does_not_state_what_is_asked_is_not_taken() -> None:
    """Without a date or an object a packet passes no condition on them."""
    assert not Selection(first_mjd=0.0).takes(header(mjd=None))
    assert not Selection(end_mjd=1e6).takes(header(mjd=None))
    assert not Selection(objects=frozenset({"A"})).takes(header(object_id=None))


DEGREES = st.floats(0, 360, allow_subnormal=False)
DECLINATION = st.floats(-90, 90, allow_subnormal=False)


@given(DEGREES, DECLINATION, DEGREES, DECLINATION, st.floats(0.001, 180))
def test_a_cone_is_a_great_circle_distance(ra: float, dec: float, ra2: float, dec2: float, radius: float) -> None:
    """A cone agrees with astropy's separation, poles and the line of 0 h included."""
    separation = float(SkyCoord(ra, dec, unit="deg").separation(SkyCoord(ra2, dec2, unit="deg")).deg)
    assume(abs(separation - radius) > 1e-6)
    assert Cone(ra, dec, radius).holds(ra2, dec2) == (separation < radius)

"""The demo on the embedded broker and on a given one: what a newcomer sees first."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from broker_plugin.commands.demo import draw_objects
from broker_plugin.demo.demo import run_demo
from broker_plugin.demo.packets import gather
from schemas.decode import PacketDecoder

NUM_OBJECTS = 5
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def bundles_as_shipped(workers_score_with_slim_bundles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """All members score here."""
    monkeypatch.delenv("CONVENTION_CLASSIFY__BUNDLES")


@pytest.fixture
def no_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without sample packets."""
    monkeypatch.setenv("CONVENTION_SAMPLE_DATA", str(tmp_path))


def check(printed: str, output: Path) -> None:
    """Every object in the table with a class or why not, the ledger balanced, a picture of several stamps a side."""
    rows = re.findall(
        r"^ +(\S+) +(AGN|SNIa|SNOther|Variable) +(\w+|\(\w+\)) +[01]\.\d\d +0\.\d\d +\w\d", printed, re.M
    )
    assert len({name for name, _, _ in rows}) == NUM_OBJECTS
    assert any(says in ("AGN", "SNIa", "SNOther", "Variable") for _, _, says in rows)
    assert "balanced" in printed
    (picture,) = output.glob("*.png")
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    assert min(width, height) > 5 * 32


@pytest.mark.tansu
@pytest.mark.usefixtures("no_samples")
def test_demo_on_the_embedded_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Simulated ZTF and LSST objects, classified, in a table; exit status 0."""
    assert run_demo(draw_objects(NUM_OBJECTS), broker=None, output=tmp_path / "out") == 0
    check(capsys.readouterr().out, tmp_path / "out")


@pytest.mark.kafka
@pytest.mark.usefixtures("no_samples")
def test_demo_on_a_given_broker(kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same on Apache Kafka by its address."""
    assert run_demo(draw_objects(NUM_OBJECTS), broker=kafka, output=tmp_path / "out") == 0
    check(capsys.readouterr().out, tmp_path / "out")


@pytest.mark.data
def test_real_alerts_come_first_and_in_time_order(sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 34 alerts of SN 2021rhu and the 107 of LSSTCam, by time, before the simulated ones."""
    monkeypatch.setenv("CONVENTION_SAMPLE_DATA", str(sample_data))
    packets = gather(draw_objects(3))
    assert packets.num_real == 34 + 107
    times = [PacketDecoder().read_header(payload).identity.mjd or 0.0 for payload in packets.payloads]
    assert times[: packets.num_real] == sorted(times[: packets.num_real])
    assert np.diff(times[packets.num_real :]).min() > -1e-6  # ZTF's JD is of 20 microseconds
    assert len(packets.drawn) == 3

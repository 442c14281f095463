"""``decode``: one line a packet, whatever the packet."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import fastavro
import numpy as np
import pytest
from astropy.io import fits

from broker_plugin.cli import main
from schemas.avro import read_container
from schemas.fits import gunzip
from schemas.surveys.lsst_wire import bundled_schema
from schemas.surveys.ztf import cutouts
from schemas.synthetic import SMALL, generate_packets
from tests.archive.archives import packets, tar


def lines(capsys: pytest.CaptureFixture[str], *paths: Path, status: int = 0) -> list[dict[str, object]]:
    assert main(["decode", *map(str, paths), "--json"]) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_names_the_packet_and_its_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line has the identity, the outcome and the sha256 of the pixels as astropy reads them."""
    packet = next(generate_packets(seed=1, num_objects=1, num_frames=1, form=SMALL))
    path = tmp_path / "one.avro"
    path.write_bytes(packet.payload)
    (line,) = lines(capsys, path)
    assert (line["survey"], line["object_id"], line["outcome"]) == ("ztf", packet.object_id, "stamp")
    data = cutouts(read_container(packet.payload).record)["difference"]
    assert data is not None
    with fits.open(io.BytesIO(gunzip(data))) as hdus:
        expected = np.array(hdus[0].data, "<f4")
    found = line["cutouts"]["difference"]  # type: ignore[index]
    assert found == {"shape": [63, 63], "sha256": hashlib.sha256(expected.tobytes()).hexdigest()}
    assert line["cutouts"]["template"] is None  # type: ignore[index]


def test_damage_is_a_line_not_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut packet, a foreign file and an empty one each end as dead_letter with a reason; the status is 1 as long as
    there is no other packet."""
    packet = next(generate_packets(seed=1, num_objects=1, num_frames=1, form=SMALL)).payload
    (tmp_path / "a").write_bytes(packet[:-40])
    (tmp_path / "b").write_bytes(b"hello")
    (tmp_path / "c").write_bytes(b"")
    found = [(line["outcome"], line["reason"]) for line in lines(capsys, tmp_path, status=1)]
    assert found == [("dead_letter", "bad_container"), ("dead_letter", "unknown_framing"), ("dead_letter", "empty")]
    (tmp_path / "d").write_bytes(packet)
    assert [line["outcome"] for line in lines(capsys, tmp_path)] == ["dead_letter"] * 3 + ["stamp"]


def test_a_missing_path_is_wrong_usage(tmp_path: Path) -> None:
    """A path that does not exist ends with status 2."""
    assert main(["decode", str(tmp_path / "absent")]) == 2


def test_an_empty_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to decode is one line that names the folder, and status 1."""
    assert main(["decode", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"convention-broker: error: {tmp_path}: holds no file\n")


def test_a_tar_is_decoded_past_its_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a packet of a tar, named after its member, and a line for the damage."""
    data = bytearray(tar({f"{n}.avro": payload for n, payload in enumerate(packets(3, 1))}))
    data[data.index(b"1.avro")] = 0xFF
    path = tmp_path / "night.tar"
    path.write_bytes(data)
    found = [(line["path"], line["outcome"]) for line in lines(capsys, path)]
    assert found == [(f"{path}!0.avro", "stamp"), (str(path), "dead_letter"), (f"{path}!2.avro", "stamp")]


@pytest.mark.data
def test_every_sample_file_ends_in_lines(sample_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every ZTF file of the samples, damaged ones included, ends in lines with an outcome; most become stamps."""
    outcomes = [line["outcome"] for line in lines(capsys, sample_data / "ztf")]
    assert set(outcomes) == {"stamp", "filtered", "dead_letter"}
    assert outcomes.count("stamp") >= 780


@pytest.mark.data
def test_lsst_lines(sample_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """LSST packets, 107 in a container and one in wire format, are a line each: the pixels are astropy's, moving
    objects have no object id, and a stamp has its flux."""
    night = sample_data / "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro"
    wire = sample_data / "lsst/boom-astro+boom/tests/data/alerts/lsst/7912941781254298.avro"
    found = lines(capsys, night, wire)
    assert [line["index"] for line in found] == [*range(107), 0]
    assert {line["survey"] for line in found} == {"lsst"}
    assert Counter(line["outcome"] for line in found) == {"stamp": 83, "filtered": 25}
    assert all((line["object_id"] is None) == (line.get("reason") == "moving_object") for line in found)
    assert all(float(line["flux_sum_njy"]) != 0.0 for line in found if line["outcome"] == "stamp")  # type: ignore[arg-type]
    assert [line["schema"] for line in found[-2:]] == ["lsst.v10_0.alert", "lsst.v9_0.alert"]
    with night.open("rb") as stream:
        for line, record in zip(found, fastavro.reader(stream), strict=False):
            for name in ("science", "template", "difference"):
                with fits.open(io.BytesIO(record[f"cutout{name.capitalize()}"])) as hdus:
                    expected = np.array(hdus[0].data, "<f4")
                digest = hashlib.sha256(expected.tobytes()).hexdigest()
                assert line["cutouts"][name] == {"shape": list(expected.shape), "sha256": digest}  # type: ignore[index]


def test_a_stated_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bare body, and a message of an unknown id, are read with the schema that is stated, by name or as a file."""
    packet = next(generate_packets(seed=1, num_objects=1, num_frames=1, survey="lsst")).payload
    bare, unknown, schema = tmp_path / "bare", tmp_path / "unknown", tmp_path / "own.avsc"
    bare.write_bytes(packet[5:])
    unknown.write_bytes(b"\x00\x00\x00\x30\x39" + packet[5:])
    schema.write_text(json.dumps(bundled_schema(1000)))
    reasons = [line["reason"] for line in lines(capsys, bare, unknown, status=1)]
    assert reasons == ["unknown_framing", "schema_unavailable"]
    for stated in ("lsst.v10_0", str(schema)):
        assert main(["decode", str(bare), str(unknown), "--json", "--schema", stated]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["outcome"] for line in found] == ["stamp", "stamp"]
    for wrong in ("lsst.v99_0", str(bare)):
        assert main(["decode", str(bare), "--schema", wrong]) == 2


@pytest.mark.data
def test_surveys_that_are_only_decoded(sample_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ATLAS and DECam packets are lines with their identity and pixels, and are filtered as decode_only."""
    found = lines(capsys, sample_data / "atlas", sample_data / "decam")
    assert Counter(line["survey"] for line in found) == {"atlas": 12, "decam": 3}
    assert {(line["outcome"], line["reason"]) for line in found} == {("filtered", "decode_only")}
    assert {line["band"] for line in found} <= {"o", "c", "g", "r"}
    for line in found:
        cutouts = line["cutouts"]
        assert isinstance(cutouts, dict)
        assert (cutouts["template"] is None) is (line["survey"] == "atlas")
        assert all(len(cutouts[name]["sha256"]) == 64 for name in ("science", "difference"))

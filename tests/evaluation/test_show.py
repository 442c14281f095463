"""The show verb: terminal view and PNG."""

from __future__ import annotations

import io
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from broker_plugin.cli import main
from broker_plugin.evaluation.object_terminal import render_object
from broker_plugin.evaluation.object_view import load_object
from broker_plugin.evaluation.record_files import open_rows, part_path, read_records
from broker_plugin.evaluation.sequence_image import DARKEST, MASKED_RGB, png_bytes, sequence_grid
from model.bundle_store import SHIPPED
from schemas.observation import STAMP_SIZE
from schemas.synthetic import generate_packets
from tests.evaluation.stamps import write_stamps
from tests.evaluation.support import random_records

SHOTS = os.environ.get("REPORT_SCREENSHOTS")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten objects with stamps."""
    folder = tmp_path_factory.mktemp("archive")
    records, _ = random_records(10, 5, num_epochs=14)
    with open_rows(part_path(folder, "records", 0, ".jsonl")) as writer:
        for record in records:
            writer.write(record.to_row())
    write_stamps(folder, records)
    return folder


def test_picture_colours_say_what_is_missing(archive: Path) -> None:
    """A band without a frame that night is black, a masked pixel dark red, an observed one gray and never black."""
    sequence = load_object("obj0001", archive, None).sequence
    assert sequence is not None
    grid, picture = sequence_grid(sequence, "science")
    assert picture.shape == (5 * STAMP_SIZE, len(grid.mjd_T) * STAMP_SIZE, 3)
    for night in range(len(grid.mjd_T)):
        for row in range(len(grid.bands)):
            place = np.s_[row * STAMP_SIZE : (row + 1) * STAMP_SIZE, night * STAMP_SIZE : (night + 1) * STAMP_SIZE]
            stamp, valid = picture[place], grid.valid_TBHW[night, row]
            if not grid.observed_TB[night, row]:
                assert not stamp.any()
                continue
            assert (stamp[~valid] == MASKED_RGB).all()
            assert (stamp[valid] >= DARKEST).all()
            assert (stamp[valid].max(axis=1) == stamp[valid].min(axis=1)).all()


def test_png_is_read_by_another_reader(tmp_path: Path) -> None:
    """matplotlib reads our PNG bytes back bit for bit."""
    from matplotlib import image

    rgb = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png_bytes(rgb))
    np.testing.assert_array_equal((image.imread(tmp_path / "a.png")[..., :3] * 255).round(), rgb)
    assert zlib.crc32(png_bytes(rgb)) == zlib.crc32(png_bytes(rgb))


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_terminal_view_fits(archive: Path, width: int) -> None:
    """No line is longer than the terminal; every observed band and class is named; left-out nights are said."""
    view = load_object("ztf:obj0004", archive, None)
    assert view.sequence is not None
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor", record=True)
    console.print(render_object(view, plane="difference", width=width))
    text = console.export_text(clear=False)
    assert max(map(len, text.splitlines())) <= width
    assert "obj0004" in text
    assert "AGN" in text
    assert "µJy" in text
    assert "…" not in text
    assert ("Variable" in text) == (width >= 60)
    shown = view.scored()[-16:]
    for line, (_, record) in zip(text.splitlines()[-len(shown) :], shown, strict=True):
        said = [float(number) for number in re.findall(r"\b[01]\.[0-9]{2}\b", line)]
        assert said == [round(probability, 2) for probability in record.classification.probabilities or ()]
        assert (record.classification.status.value in line) == (width >= 60)
    assert (f"of {view.sequence.num_nights} nights" in text) == (view.sequence.num_nights * 8 + 3 > width)
    if SHOTS:
        console.save_svg(str(Path(SHOTS) / f"terminal-{width}.svg"), title="show")


def test_a_pipe_gets_shades_of_grey(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no colour, stamps are characters from dark to bright, as many as the coloured ones."""
    assert main(["show", "ztf:obj0004", "--records", str(archive), "--no-attention"]) == 0
    piped = capsys.readouterr().out
    assert "▀" not in piped
    stamps = [line for line in piped.splitlines() if set(line) & set("·░▒▓")]
    assert len(stamps) >= 4
    assert any("█" in line for line in stamps)


def test_show_writes_a_png(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--png`` writes a picture whether or not stamps are there; without stamps it says so."""
    png = Path(SHOTS or tmp_path) / "object.png"
    assert main(["show", "obj0003", "--records", str(archive), "--png", str(png)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    bare = tmp_path / "bare.png"
    assert main(["show", "obj0003", "--records", str(next(archive.glob("records*"))), "--png", str(bare)]) == 0
    said = capsys.readouterr()
    assert "no stamps of this object were kept" in said.out
    assert "no attention: the records are of bundle" in said.err
    assert bare.stat().st_size < png.stat().st_size


def test_unknown_object_is_one_line(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An object without a record: status 1, one line."""
    assert main(["show", "nobody", "--records", str(archive)]) == 1
    assert "no record of object nobody" in capsys.readouterr().err


def test_show_says_what_the_attention_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For records of a shipped bundle the nights' shares of the attention stand in the terminal and in the picture;
    a bundle that was named and is another one is an error."""
    for number, packet in enumerate(generate_packets(seed=2, num_objects=1, num_frames=5)):
        (tmp_path / f"{number}.avro").write_bytes(packet.payload)
    out = tmp_path / "out"
    assert main(["replay", *map(str, sorted(tmp_path.glob("*.avro"))), "--output", str(out)]) == 0
    name = next(read_records(out)).classification.object_id
    capsys.readouterr()
    assert main(["show", name, "--records", str(out), "--png", str(tmp_path / "with.png")]) == 0
    assert "attention, at most" in capsys.readouterr().out
    assert main(["show", name, "--records", str(out), "--no-attention", "--png", str(tmp_path / "bare.png")]) == 0
    assert "attention" not in capsys.readouterr().out
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "bare.png").read_bytes()
    lsst = str(SHIPPED / "convention-lsst-1.1")
    assert main(["show", name, "--records", str(out), "--bundle", lsst]) == 1
    assert "name its directory" in capsys.readouterr().err

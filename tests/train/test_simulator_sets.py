"""Simulated sets: a function of the seed, through the real decoders, splits and schedules kept apart from classes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from broker_plugin.cli import main
from schemas.archive.reader import ArchiveReader
from schemas.decode import PacketDecoder
from schemas.errors import SettingsError
from schemas.observation import Observation, content_digest
from schemas.outcome import Stamped
from schemas.sequence import PLANES
from train.fact_set import FORMAT, open_snapshot
from train.simulator.gallery import write_gallery
from train.simulator.objects import SetSettings, draw_object
from train.simulator.plots import caption
from train.simulator.production import Outputs, simulate
from train.simulator.sequence_set import SequenceSet
from train.simulator.splits import SPLITS, split_of
from train.simulator.survey_description import SURVEYS

SMALL = 6


def produced(folder: Path, survey: str, *, workers: int = 1, form: str = "matched", seed: int = 3) -> Path:
    settings = SetSettings(SURVEYS[survey], SMALL, seed, form=form, num_novel=2)
    simulate(settings, Outputs(folder, True, True), workers=workers, made={}, progress=lambda count: None)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_bytes_do_not_depend_on_processes(tmp_path: Path) -> None:
    """One process and two write the same files, byte for byte; another seed writes others."""
    one, two = produced(tmp_path / "one", "sdss"), produced(tmp_path / "two", "sdss", workers=2)
    assert contents(one) == contents(two)
    assert contents(one) != contents(produced(tmp_path / "three", "sdss", seed=4))


@pytest.mark.parametrize("survey", ["sdss", "ztf", "lsst"])
def test_sequences_equal_the_decoded_packets(tmp_path: Path, survey: str) -> None:
    """Every packet decodes through the ordinary decoder, in time order, and the sequences hold what it gives, as the
    stamp log would round it."""
    folder = produced(tmp_path / survey, survey, form="matched" if survey == "sdss" else "natural")
    found: dict[str, list[Observation]] = {}
    times = []
    for packet in ArchiveReader([folder / "packets.kcat"], pytest.fail):
        outcome = PacketDecoder().decode(packet.payload)
        assert isinstance(outcome, Stamped)
        assert isinstance(outcome.fact, Observation)
        found.setdefault(outcome.fact.object_id, []).append(outcome.fact)
        times.append(outcome.fact.mjd)
    assert times == sorted(times)
    sequences = SequenceSet(folder / "sequences")
    assert len(sequences) == SMALL + 2
    assert set(found) <= set(sequences.text("object_id"))
    for index, object_id in enumerate(sequences.text("object_id")):
        sequence, facts = sequences.sequence(index), found.get(object_id, [])
        assert sequence.source_ids == tuple(fact.source_id for fact in facts)
        stored = [Observation.from_bytes(fact.to_bytes()) for fact in facts]
        assert sequence.digests == tuple(content_digest(fact.to_bytes()) for fact in facts)
        for frame, fact in enumerate(stored):
            for number, plane in enumerate(PLANES):
                np.testing.assert_array_equal(sequence.planes_LPHW[frame, number], getattr(fact, plane).pixels)
                np.testing.assert_array_equal(sequence.valid_LPHW[frame, number], getattr(fact, plane).valid)
            assert sequence.mjd_L[frame] == fact.mjd
            assert sequence.night_L[frame] == fact.night
            assert sequence.band_L[frame] == fact.band_id
            assert fact.difference.valid.any() == SURVEYS[survey].has_difference


def test_part_of_a_sequence(tmp_path: Path) -> None:
    """Cutting a sequence gives the frames from start to stop."""
    sequences = SequenceSet(produced(tmp_path / "set", "sdss") / "sequences")
    whole, part = sequences.sequence(1), sequences.sequence(1, 2, 5)
    assert part.source_ids == whole.source_ids[2:5]
    np.testing.assert_array_equal(part.planes_LPHW, whole.planes_LPHW[2:5])


def test_natural_sets_hold_detections_only(tmp_path: Path) -> None:
    """In a natural set every frame is a detection of at least five sigma, and objects have three or more."""
    sequences = SequenceSet(produced(tmp_path / "set", "ztf", form="natural") / "sequences")
    for index in range(SMALL):
        sequence = sequences.sequence(index)
        assert len(sequence) >= 3
        assert (np.abs(sequence.diff_flux_njy_L) >= 4.99 * sequence.diff_flux_err_njy_L).all()


def test_schedule_knows_nothing_of_the_class() -> None:
    """The same object numbers have the same frames, whatever classes and labels the settings make of them."""
    settings = SetSettings(SURVEYS["sdss"], 40, 5)
    others = replace(settings, mix="equal", population="unconfirmed", label_noise=0.0)
    classes = 0
    for index in range(40):
        one, two = draw_object(settings, index), draw_object(others, index)
        classes += one.source.true_class != two.source.true_class
        np.testing.assert_array_equal(one.schedule.mjd, two.schedule.mjd)
        np.testing.assert_array_equal(one.schedule.noise, two.schedule.noise)
        np.testing.assert_array_equal(one.schedule.fwhm, two.schedule.fwhm)
    assert classes > 5


def test_templates_stay_in_their_split() -> None:
    """A tabulated star is drawn for objects of its own split only, and stars of several splits are drawn."""
    settings = SetSettings(SURVEYS["ztf"], 400, 9)
    drawn = [draw_object(settings, index) for index in range(400)]
    named = [item for item in drawn if item.source.template]
    assert {item.split for item in named} >= set(SPLITS) - {"calibration"}
    assert all(split_of(item.source.template) == item.split for item in named)


def test_forced_split_holds_for_all(tmp_path: Path) -> None:
    """A set made for testing holds objects and templates of the test split only."""
    settings = SetSettings(SURVEYS["ztf"], 60, 2, split="test")
    for index in range(60):
        item = draw_object(settings, index)
        assert item.split == "test"
        assert not item.source.template or split_of(item.source.template) == "test"


def test_label_noise_is_the_stated_share() -> None:
    """Of the unconfirmed SN other, the stated share are nuclear Variables in truth; no other label is wrong."""
    settings = SetSettings(SURVEYS["sdss"], 300, 1, population="unconfirmed", label_noise=0.6)
    drawn = [draw_object(settings, index) for index in range(300)]
    others = [item for item in drawn if item.label == "SNOther"]
    wrong = [item for item in others if item.source.true_class != "SNOther"]
    assert all(item.source.true_class == "Variable" for item in wrong)
    assert 0.45 < len(wrong) / len(others) < 0.75
    assert all(item.label == item.source.true_class for item in drawn if item.label != "SNOther")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb writes a truth table beside the sequences, and refuses what it cannot do in one line."""
    target = tmp_path / "out"
    arguments = ["simulate", "--survey", "sdss", "--num-objects", "3", "--output", str(target)]
    assert main(arguments) == 0
    with (target / "truth.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 3
    assert sorted(path.name for path in target.iterdir()) == ["sequences", "truth.csv"]
    capsys.readouterr()
    assert main(arguments) == 2
    assert "not an empty folder: name another, or remove it if an interrupted run" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "two"), "--form", "natural"]) == 2
    assert "Stripe 82" in capsys.readouterr().err


def test_damaged_set_is_refused(tmp_path: Path) -> None:
    """A file that is shorter than the index says is refused with its name."""
    folder = produced(tmp_path / "set", "sdss") / "sequences"
    with (folder / "science.f2").open("r+b") as handle:
        handle.truncate(100)
    with pytest.raises(Exception, match=r"science\.f2 has 100 bytes"):
        SequenceSet(folder)


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("set.json", b"[]", "set.json has format .., expected"),
        ("set.json", b"\xff\xfe", "holds no complete set of sequences"),
        ("set.json", b'{"format": "convention-sequences-1", "planes": []}', "damaged .survey, grid_id, num_frames"),
        ("objects.npy", b"garbage", "objects.npy is damaged, make the set again"),
        ("objects.npy", b"", "objects.npy is damaged, make the set again"),
        ("objects.npy", None, "objects.npy is no table of objects"),
    ],
)
def test_garbage_in_a_set_is_refused(tmp_path: Path, file: str, content: bytes | None, fault: str) -> None:
    """An index or a table that is none is refused with its name, also where a log's snapshot is opened."""
    folder = produced(tmp_path / "set", "sdss") / "sequences"
    if content is None:
        np.save(folder / file, np.zeros(3))
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(SettingsError, match=fault):
        SequenceSet(folder)
    index = {"format": FORMAT, "sets": {"sequences": ""}, "files": {}, "num_facts": 1}
    (folder.parent / "snapshot.json").write_text(json.dumps(index))
    with pytest.raises(SettingsError, match=fault):
        open_snapshot(folder.parent)


def test_a_table_that_names_frames_beyond_the_end_is_refused(tmp_path: Path) -> None:
    """An object whose frames the files do not hold is found when the set is opened."""
    folder = produced(tmp_path / "set", "sdss") / "sequences"
    objects = np.load(folder / "objects.npy")
    objects["num_frames"][-1] += 1
    np.save(folder / "objects.npy", objects)
    with pytest.raises(SettingsError, match="names frames that the set has not"):
        SequenceSet(folder)


@pytest.mark.parametrize("survey", ["sdss", "lsst"])
def test_gallery_shows_every_class_and_plane(tmp_path: Path, survey: str) -> None:
    """The page is self-contained and names each class that the set has, with one picture of stamps a plane."""
    folder = produced(tmp_path / "set", survey)
    write_gallery(folder / "sequences", tmp_path / "gallery.html")
    page = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    sequences = SequenceSet(folder / "sequences")
    assert page.count("<img") == 4 + len(sequences.about["planes"])
    assert page.count("src=") == page.count('src="data:image/png;base64,')
    for plane in sequences.about["planes"]:
        assert f"{plane} plane" in page


def test_captions_say_what_an_object_is(tmp_path: Path) -> None:
    """A caption has the true class and, where it differs, the label."""
    sequences = SequenceSet(produced(tmp_path / "set", "sdss") / "sequences")
    for index, (truth, label) in enumerate(zip(sequences.text("true_class"), sequences.text("label"), strict=True)):
        words = caption(sequences, index)
        assert words.startswith(truth)
        assert (f"labelled {label}" in words) == (truth != label)

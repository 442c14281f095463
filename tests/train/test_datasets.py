"""Data sets: simulated sets, archives and the stamp log with a label table, the published layout."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from model.scores import CLASSES
from schemas.bands import BAND_IDS
from schemas.cuts import Cuts
from schemas.errors import SettingsError
from schemas.observation import Observation, Withdrawal, content_digest
from schemas.sequence import StampSequence, build_sequence
from schemas.view import FactKey, ViewRule, select_view
from tests.train.toy_sets import GRID as TOY_GRID
from tests.train.toy_sets import toy_observations, write_labels_file, write_toy_set
from train.archive import archived_facts
from train.dataset import DataSet, joined, set_digest, simulated
from train.fact_set import open_snapshot, write_snapshot
from train.label_table import read_labels
from train.labelled import labelled
from train.prepare import load_sets, sequence_folders
from train.published_layout import import_published
from train.simulator.sequence_set import SequenceSet
from train.splits import CALIBRATION, FOLDS, TEST
from train.triggers import random_length

GRID = "sdss-0.396-32"
RULE = ViewRule(max_frames=20, max_days=60.0, band_ids=frozenset({2, 3, 4}), grid_id=GRID)


def facts_of(folder: Path) -> list[bytes]:
    counts: Counter[str] = Counter()
    facts = list(archived_facts([folder / "packets.kcat"], cuts=Cuts(), counts=counts, damage=pytest.fail))
    assert counts == {"stamped": len(facts)}
    return facts


def equal(first: StampSequence, second: StampSequence) -> bool:
    names = ("mjd_L", "band_L", "planes_LPHW", "valid_LPHW", "noise_LP", "night_L")
    same = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)
    return same and (first.source_ids, first.digests) == (second.source_ids, second.digests)


def test_a_sample_is_the_view_that_the_worker_has_at_that_trigger(small_set: Path) -> None:
    """The prefix of n admitted frames equals the sequence that the view makes of the decoded packets up to there:
    the bundle's bands only, at most N frames, none older than D days."""
    data = simulated(SequenceSet(small_set / "sequences"))
    observations: dict[str, list[Observation]] = {}
    for payload in facts_of(small_set):
        observation = Observation.from_bytes(payload)
        observations.setdefault(observation.object_id, []).append(observation)
    for row in range(4):
        own = observations[data.object_id(row)]
        digests = [content_digest(observation.to_bytes()) for observation in own]
        keys = [
            FactKey(o.source_id, digest, offset, o.mjd, o.band_id, o.grid_id, o.num_valid)
            for offset, (o, digest) in enumerate(zip(own, digests, strict=True))
        ]
        admitted = [offset for offset, key in enumerate(keys) if RULE.admits(key)]
        for num_frames in (1, 5, len(admitted)):
            chosen = select_view(keys, RULE, at_offset=admitted[num_frames - 1])
            frames = [own[key.first_offset] for key in chosen]
            expected = build_sequence(
                "ugriz", data.object_id(row), GRID, frames, [key.digest for key in chosen], view_digest=""
            )
            assert equal(data.prefix(row, RULE, num_frames), expected)


def test_every_object_is_in_one_split_and_folds_do_not_touch_the_held_out_ones(small_set: Path) -> None:
    """The training and validation rows of a fold, calibration and test are disjoint, cover what has a class, and the
    same positions in two sets that disagree on the split are in none."""
    data = simulated(SequenceSet(small_set / "sequences"))
    for number in range(len(FOLDS)):
        train, validation = data.fold(number)
        parts = [train, validation, data.calibration, data.test]
        together = np.concatenate(parts)
        assert len(set(together.tolist())) == len(together) == 12
        groups = [set(data.rows["group"][part].tolist()) for part in parts]
        assert sum(map(len, groups)) == len(set().union(*groups))
    assert len(data.novel) == 3
    moved = data.rows.copy()
    moved["split"] = np.where(moved["split"] == TEST, "fold0", TEST)
    assert not np.isin(joined([data, DataSet(data.sources, moved)]).rows["split"], (*FOLDS, CALIBRATION, TEST)).any()


def test_lengths_are_log_uniform_and_within_bounds() -> None:
    """A random length is between the eligibility minimum and all frames, its logarithm uniform to a few percent; an
    object shorter than the minimum gives all it has."""
    random = np.random.default_rng(0)
    lengths = np.array([random_length(96, 3, random) for _ in range(4000)])
    assert (lengths.min(), lengths.max()) == (3, 96)
    assert np.mean(lengths <= 17) == pytest.approx(np.log(18 / 3) / np.log(97 / 3), abs=0.03)
    assert random_length(2, 3, random) == 2


def test_a_snapshot_holds_what_the_view_would_see_whatever_the_order(small_set: Path, tmp_path: Path) -> None:
    """Facts shuffled and repeated give the simulator's own sequences, without the withdrawn frame; the same facts in
    another order give the same digest; a changed file is found."""
    facts = facts_of(small_set)
    random = np.random.default_rng(1)
    first = Observation.from_bytes(facts[0])
    withdrawal = Withdrawal("ugriz", first.object_id, first.source_id, first.mjd, first.band, first.mjd + 9.0)
    shuffled = [facts[index] for index in random.permutation(len(facts))]
    snapshot = write_snapshot(tmp_path / "log", [withdrawal.to_bytes(), *shuffled, *shuffled[:50]], {"topic": "t"})
    again = write_snapshot(tmp_path / "again", [*facts, withdrawal.to_bytes()], {"topic": "t"})
    assert snapshot.num_facts == len(facts) + 1
    (folder,) = snapshot.sets
    assert list(snapshot.sets.values()) == list(again.sets.values())
    read, made = SequenceSet(folder), SequenceSet(small_set / "sequences")
    assert not (tmp_path / "log" / "scratch.sqlite").exists()
    places = {name: index for index, name in enumerate(read.text("object_id"))}
    for index, name in enumerate(made.text("object_id")):
        expected = made.sequence(index, 1 if name == first.object_id else 0)
        assert equal(read.sequence(places[name]), expected)
    assert open_snapshot(tmp_path / "log").sets == snapshot.sets
    with (folder / "frames.rec").open("r+b") as file:
        file.seek(40)
        file.write(b"\xff")
    with pytest.raises(SettingsError, match=r"frames.rec is not what snapshot.json says, its digest differs"):
        open_snapshot(tmp_path / "log")
    (other,) = again.sets
    pixels = bytearray((other / "science.f2").read_bytes())
    pixels[1000] ^= 1
    (other / "science.f2").write_bytes(pixels)
    with pytest.raises(SettingsError, match=r"science.f2 is not what snapshot.json says, its digest differs"):
        sequence_folders([tmp_path / "again"])
    index = tmp_path / "again" / "snapshot.json"
    for change, fault in (({"files": {}}, "does not say what"), ({"format": "other"}, "of format other, expected")):
        index.write_text(json.dumps(json.loads((tmp_path / "log" / "snapshot.json").read_text()) | change))
        with pytest.raises(SettingsError, match=fault):
            open_snapshot(tmp_path / "again")


def test_an_object_of_several_sets_is_one_row_of_its_longest_sequence(tmp_path: Path) -> None:
    """Snapshots of one log that overlap: an object counts once, with the frames of the set that has most of it, and
    is said to be of that set; a set that is named twice adds nothing. Two sets that disagree on a class are
    refused."""
    observations = [toy_observations(f"o{index}", index, 0) for index in range(8)]
    earlier = [one.to_bytes() for own in observations for one in own[:-1]]
    later = [one.to_bytes() for own in observations[:5] for one in own]
    write_snapshot(tmp_path / "earlier", earlier, {})
    write_snapshot(tmp_path / "later", later, {})
    rows = [{"object_id": f"o{index}", "class": "AGN"} for index in range(8)]
    table = read_labels(write_labels_file(tmp_path / "labels.csv", rows))
    folders = [path for name in ("earlier", "later", "later") for path in open_snapshot(tmp_path / name).sets]
    data, said = load_sets(folders, table)
    frames = dict(zip(map(data.object_id, range(len(data))), data.column("num_frames").tolist(), strict=True))
    expected = {f"o{index}": len(own) - (index >= 5) for index, own in enumerate(observations)}
    assert (len(data), frames) == (8, expected)
    assert [(entry["objects"], entry.get("objects_taken_from_another_set")) for entry in said] == [
        (3, 5), (5, None), (0, 5)
    ]  # fmt: skip
    first = simulated(write_toy_set(tmp_path / "toy", num_objects=4))
    relabelled = first.rows.copy()
    relabelled["label"] = 3 - relabelled["label"]
    with pytest.raises(SettingsError, match="object toy0 is in two sets, AGN and Variable"):
        joined([first, DataSet(first.sources, relabelled)])


def test_an_interrupted_snapshot_is_begun_again_and_nothing_else_is_touched(small_set: Path, tmp_path: Path) -> None:
    """What a call left that was cut off while it gathered, or between a set and the index, is replaced by the
    snapshot; a folder that holds anything of others is refused and kept."""
    facts = facts_of(small_set)
    whole = write_snapshot(tmp_path / "whole", facts, {})

    def cut_off() -> Iterator[bytes]:
        yield from facts[:5]
        raise KeyboardInterrupt

    folder = tmp_path / "log"
    for later in (False, True):
        with pytest.raises(KeyboardInterrupt):
            write_snapshot(folder, cut_off(), {})
        assert (folder / "scratch.sqlite").is_file()
        if later:
            shutil.copytree(next(iter(whole.sets)), folder / "old-set")
            (folder / "snapshot.json.partial").write_text("{")
        assert list(write_snapshot(folder, facts, {}).sets.values()) == list(whole.sets.values())
        assert {entry.name for entry in folder.iterdir()} == {"snapshot.json", *(path.name for path in whole.sets)}
        with pytest.raises(SettingsError, match="not an empty folder"):
            write_snapshot(folder, facts, {})
        shutil.rmtree(folder)
    (folder / "mine").mkdir(parents=True)
    (folder / "scratch.sqlite").touch()
    (folder / "mine" / "notes").touch()
    with pytest.raises(SettingsError, match="not an empty folder"):
        write_snapshot(folder, facts, {})
    assert (folder / "mine" / "notes").exists()
    assert (folder / "scratch.sqlite").exists()


def test_labels_join_by_id_and_by_position(small_set: Path, tmp_path: Path) -> None:
    """Names of TNS and SIMBAD become classes; ``ignore`` rows say nothing, ``unknown`` ones are kept as novel; a
    label without a sequence and a sequence without a label are counted; the split is the sky's."""
    sequences = SequenceSet(small_set / "sequences")
    names = sequences.text("object_id")
    place = sequences.objects[1]
    near = {"ra": f"{place['ra'] + 1.0 / 3600:.7f}", "dec": f"{place['dec']:.7f}"}
    rows = [
        {"object_id": names[0], "class": "SN Ia-91bg-like", "confirmed": "true", "label_date": "2007-01-02"},
        {"class": "RRLyrae", "weight": "0.5", **near},
        {"object_id": names[2], "class": "TDE"},
        {"object_id": names[3], "class": "Galaxy"},
        {"object_id": "nobody", "class": "QSO"},
        {"object_id": names[0], "class": "SN Ia", "label_date": "54100"},
    ]
    table = read_labels(write_labels_file(tmp_path / "labels.csv", rows))
    assert (len(table.labels), table.num_ignored, table.num_repeated) == (4, 1, 1)
    join = labelled(sequences, table)
    assert (join.num_labels_without_sequence, join.num_sequences_without_label) == (1, len(names) - 3)
    found = {join.data.object_id(row): join.data.rows[row] for row in range(len(join.data))}
    assert CLASSES[found[names[0]]["label"]] == "SNIa"
    assert found[names[0]]["label_mjd"] == 54100.0
    assert found[names[0]]["confirmed"]
    assert CLASSES[found[names[1]]["label"]] == "Variable"
    assert found[names[1]]["weight"] == 0.5
    assert [join.data.object_id(int(row)) for row in join.data.novel] == [names[2]]


def test_the_published_layout_becomes_sequences(tmp_path: Path) -> None:
    """Images in nanomaggies, filters and dates of an .npz become calibrated frames in time order, classes by the
    mapping; a malformed file is named."""
    source = tmp_path / "stamps"
    source.mkdir()
    images = np.random.default_rng(2).normal(0.0, 0.05, (5, 32, 32)).astype(np.float32)
    images[:, 15:17, 15:17] += 0.4
    images[2, :3] = np.nan
    facts = {"filter": np.array([2, 0, 1, 3, 4]), "mjd": np.array([53700.2, 53699.2, 53701.2, 53702.2, 53703.2])}
    np.savez(source / "SN1032.npz", images=images, label="SN Ia", ra=40.0, dec=0.3, confirmed=True, **facts)
    np.savez(source / "SN7.npz", images=images, label="Galaxy", **facts)
    sequences = import_published(source, tmp_path / "set", progress=lambda count: None)
    data = simulated(sequences)
    assert len(data) == 1
    sequence = sequences.sequence(0)
    assert sequence.band_L.tolist() == [BAND_IDS[band] for band in "urgiz"]
    assert sequence.mjd_L[0] == pytest.approx(53699.2 + 32 / 86400, abs=1e-9)
    assert sequence.planes_LPHW[1, 0, 16, 16] == pytest.approx(3631.0 * images[0, 16, 16], rel=0.05)
    assert not sequence.valid_LPHW[2, 0, :3].any()
    assert (CLASSES[data.rows["label"][0]], bool(data.rows["confirmed"][0])) == ("SNIa", True)
    assert len(set_digest(tmp_path / "set")) == 64
    np.savez(source / "SN9.npz", images=images[:, :30], label="SN Ia", **facts)
    with pytest.raises(SettingsError, match=r"SN9.npz: images are \(5, 30, 32\)"):
        import_published(source, tmp_path / "other", progress=lambda count: None)


def test_sets_of_another_grid_are_named(tmp_path: Path) -> None:
    """Sets of other grids than the champion's are left out; where none is left the error says which there are."""
    here, there = tmp_path / "here", tmp_path / "there"
    write_toy_set(here, num_objects=8)
    write_toy_set(there, num_objects=8, prefix="other", grid_id="ztf-1.0-32")
    assert len(load_sets([here, there], None, grid_id=TOY_GRID)[0]) == 8
    with pytest.raises(SettingsError, match=r"none of the 1 sets .* toy-1-32: theirs are ztf-1.0-32"):
        load_sets([there], None, grid_id=TOY_GRID)

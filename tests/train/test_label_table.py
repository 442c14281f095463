"""Label tables: what rows say of which objects, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from model.scores import CLASSES
from schemas.errors import SettingsError
from tests.train.toy_sets import write_labels_file
from train.label_table import read_labels, read_mapping


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ({"object_id": "a", "class": "QSO"}, r"(?s)disagree:.*row 2.*class=SN Ia.*row 3.*class=QSO"),
        ({"object_id": "", "ra": "10.0001", "dec": "5", "class": "QSO"}, r"(?s)disagree:.*row 2.*row 3"),
        ({"object_id": "b", "class": "Blurb"}, r"'Blurb' .*row 3.*mapping"),
        ({"object_id": "b", "class": "QSO", "weight": "-1"}, "weight -1.0 is not positive"),
        ({"object_id": "b", "class": "QSO", "confirmed": "perhaps"}, "expected true or false"),
        ({"object_id": "b", "class": "QSO", "label_date": "soon"}, "neither an MJD"),
        ({"object_id": "b", "class": "QSO", "label_date": "2460000.5"}, "row 3.*not between 1900 and 2200"),
        ({"object_id": "b", "class": "QSO", "label_date": "nan"}, "row 3.*not between 1900 and 2200"),
        ({"object_id": "b", "class": "QSO", "label_date": "inf"}, "row 3.*not between 1900 and 2200"),
        ({"object_id": "", "class": "QSO"}, "neither object_id nor ra and dec"),
    ],
)
def test_label_faults_name_the_rows(tmp_path: Path, second: dict[str, str], fault: str) -> None:
    """A conflict shows both rows; any other fault its row and what was expected."""
    first = {"object_id": "a", "ra": "10", "dec": "5", "class": "SN Ia"}
    with pytest.raises(SettingsError, match=fault):
        read_labels(write_labels_file(tmp_path / "labels.csv", [first, second]))


def test_rows_that_a_third_links_are_of_one_object(tmp_path: Path) -> None:
    """An id without a place, the same id with one, and the place alone are one object, in whatever order they stand:
    classes that differ are a conflict, equal ones one label."""
    rows = [
        {"object_id": "a", "class": "SN Ia"},
        {"object_id": "a", "ra": "10", "dec": "5", "class": "SN Ia"},
        {"ra": "10", "dec": "5", "class": "SN Ia"},
    ]
    for order in permutations(rows):
        table = read_labels(write_labels_file(tmp_path / "labels.csv", list(order)))
        ((label, repeated),) = [(label, table.num_repeated) for label in table.labels]
        assert (label.object_id, label.ra, label.dec, repeated) == ("a", 10.0, 5.0, 2)
        other = [row | {"class": "AGN"} if "object_id" not in row else row for row in order]
        with pytest.raises(SettingsError, match="two rows of one object disagree"):
            read_labels(write_labels_file(tmp_path / "labels.csv", other))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """Nobody is asked to guess which of two classes holds."""
    path = tmp_path / "labels.csv"
    path.write_text("object_id,class,class\na,AGN,SN Ia\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="column class is there twice"):
        read_labels(path)


def test_ids_that_parquet_keeps_as_floats_are_whole_numbers_again(tmp_path: Path) -> None:
    """A column of integers with gaps is float64 in Parquet: 7.0 is object 7, a gap none, and an id of more digits
    than float64 has is refused."""
    path = tmp_path / "labels.parquet"
    columns = {"object_id": [7.0, np.nan], "ra": [np.nan, 10.0], "dec": [np.nan, 5.0], "class": ["AGN", "SN Ia"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert [label.object_id for label in read_labels(path).labels] == ["7", ""]
    pyarrow.parquet.write_table(pyarrow.table({"object_id": [170028492438659124.0], "class": ["AGN"]}), path)
    with pytest.raises(SettingsError, match=r"row 1: .*has lost digits"):
        read_labels(path)


def test_a_date_is_one_however_it_is_written(tmp_path: Path) -> None:
    """MJD, ISO 8601 with a zone and without, a day and a Parquet time are the same MJD; an empty cell is none."""
    written = ["60310.5", "2024-01-01T12:00", "2024-01-01T07:00-05:00", "2024-01-01", ""]
    rows = [{"object_id": f"o{i}", "class": "AGN", "label_date": date} for i, date in enumerate(written)]
    read = [label.label_mjd for label in read_labels(write_labels_file(tmp_path / "labels.csv", rows)).labels]
    assert read == pytest.approx([60310.5, 60310.5, 60310.5, 60310.0, np.nan], abs=1e-9, nan_ok=True)
    moments = [datetime(2024, 1, 1, 12), datetime(2024, 1, 1, 12, tzinfo=UTC)]
    for moment in moments:
        columns = {"object_id": ["a", "b"], "class": ["AGN", "AGN"], "label_date": [moment, None]}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
        read = [label.label_mjd for label in read_labels(tmp_path / "labels.parquet").labels]
        assert read == pytest.approx([60310.5, np.nan], abs=1e-9, nan_ok=True)


def test_the_default_mapping_is_whole_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    """Every class can be reached through the default mapping, which knows itself; an unknown meaning is an error."""
    mapping = read_mapping()
    assert set(CLASSES) <= set(mapping.values())
    assert all(mapping[name] == name for name in CLASSES)
    (tmp_path / "mapping.csv").write_text("name,class\nNova,Supernova\n")
    with pytest.raises(SettingsError, match=r"line 2: expected name,class"):
        read_mapping(tmp_path / "mapping.csv")

"""Record files, truth tables: round trips and clear errors."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from broker_plugin.evaluation.record_files import SUFFIXES, open_rows, part_path, read_records
from broker_plugin.evaluation.truth import parse_renames, read_truth
from schemas.errors import EvaluationError, RecordError
from tests.evaluation.support import make_record, random_records

RECORDS = [*random_records(12, 0)[0], make_record("x", None, num_frames=1, last_mjd=60000.0, flux_njy=None)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_records_round_trip(tmp_path: Path, suffix: str) -> None:
    """Every format gives back equal records (and so equal output bytes) in order, from a file and from parts."""
    path = tmp_path / f"out{suffix}"
    with open_rows(path) as writer:
        for record in RECORDS:
            writer.write(record.to_row())
    assert list(read_records(path)) == RECORDS
    assert [r.classification.to_bytes() for r in read_records(path)] == [r.classification.to_bytes() for r in RECORDS]
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, start in enumerate(range(0, len(RECORDS), 7)):
        with open_rows(part_path(folder, "records", number, suffix)) as writer:
            for record in RECORDS[start : start + 7]:
                writer.write(record.to_row())
    assert list(read_records(folder)) == RECORDS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_part_is_not_read(tmp_path: Path, suffix: str) -> None:
    """A writer that dies leaves no file under the part's name, and the next writer replaces what it left."""
    path = part_path(tmp_path, "records", 0, suffix)

    def interrupted() -> None:
        with open_rows(path) as writer:
            writer.write(RECORDS[0].to_row())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(EvaluationError, match="holds no records"):
        list(read_records(tmp_path))
    with open_rows(path) as writer:
        writer.write(RECORDS[1].to_row())
    assert list(read_records(tmp_path)) == [RECORDS[1]]
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damage_is_a_record_error(tmp_path: Path, suffix: str) -> None:
    """A file cut short or of other bytes ends in a RecordError that names it."""
    path = tmp_path / f"records{suffix}"
    with open_rows(path) as writer:
        for record in RECORDS:
            writer.write(record.to_row())
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"nonsense", whole[:50] + b"\xff" * 40 + whole[90:]):
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=path.name):
            list(read_records(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Unknown suffix, empty folder, mixed formats, missing or unknown fields: one line each."""
    with pytest.raises(EvaluationError, match="ends in one of"), open_rows(tmp_path / "a.txt"):
        pass
    with pytest.raises(EvaluationError, match="no such file"):
        list(read_records(tmp_path / "absent"))
    row = RECORDS[0].to_row()
    (tmp_path / "records.jsonl").write_text(json.dumps({**row, "extra": 1}))
    with pytest.raises(RecordError, match=r"unknown \['extra'\]"):
        list(read_records(tmp_path))
    (tmp_path / "records.avro").write_bytes(b"")
    with pytest.raises(EvaluationError, match="several formats"):
        list(read_records(tmp_path))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "truth.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_truth_csv_and_parquet(tmp_path: Path) -> None:
    """Both formats give the same table: order of columns free, repeated rows counted, outside labels listed."""
    path = write(tmp_path, "\ufeffclass,mag,objectId\nSNIa,19,123\nAGN,20,124\nSNIa,19,123\nTDE,18,125\n")
    table = read_truth(path)
    assert dict(table.labels) == {"123": "SNIa", "124": "AGN", "125": "TDE"}
    assert (table.num_duplicates, table.outside) == (1, ("TDE",))
    columns = {"objectId": [123, 124, 123, 125], "class": ["SNIa", "AGN", "SNIa", "TDE"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "truth.parquet")
    assert dict(read_truth(tmp_path / "truth.parquet").labels) == dict(table.labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,kind\n1,SNIa\n", "no class column.*--class-column"),
        ("", "no object id column"),
        ("id,class\n1,\n", "row 2 has no class"),
        ("id,class\n1\n", "row 2 has no class"),
        ("id,class\n1,SNIa\n1,AGN\n", r"1 objects have two classes: 1 \(SNIa, AGN\)"),
        ("id,class\n1,SN Ia\n", "spelt 'SNIa' here"),
        ("id,class\n1,TDE\n2,M-dwarf\n", "labels found: M-dwarf, TDE"),
        ("id,class\n", "holds no object"),
    ],
)
def test_truth_errors(tmp_path: Path, text: str, message: str) -> None:
    """Every fault of a truth table is one line that names the file and the place."""
    path = write(tmp_path, text)
    with pytest.raises(EvaluationError, match=message) as caught:
        read_truth(path)
    assert str(path) in str(caught.value)


def test_renames(tmp_path: Path) -> None:
    """``--map`` turns the truth's labels into the networks' names; a target that is no class is refused."""
    renames = parse_renames(["SN Ia=SNIa", "a=b=AGN"])
    assert renames == {"SN Ia": "SNIa", "a=b": "AGN"}
    table = read_truth(write(tmp_path, "id,class\n1,SN Ia\n2,a=b\n"), renames=renames)
    assert dict(table.labels) == {"1": "SNIa", "2": "AGN"}
    with pytest.raises(EvaluationError, match="expected LABEL=CLASS"):
        parse_renames(["SNIa"])
    with pytest.raises(EvaluationError, match="no such truth table"):
        read_truth(tmp_path / "absent.csv")

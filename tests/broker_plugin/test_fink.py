"""The Fink science module, on a pandas Series and in a real Spark session."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from broker_plugin.api import classify_sequences, sequences_of
from schemas.avro import iter_container
from schemas.classification import CLASS_NAMES
from schemas.synthetic import generate_packets

pd = pytest.importorskip("pandas", reason="pandas comes with the extra fink")

from broker_plugin.fink import COLUMNS, RESULT, convention_scores, science_module  # noqa: E402

ROOT = Path(__file__).parents[2]
PACKETS = [packet.payload for packet in generate_packets(seed=4, num_objects=3, num_frames=6)]
Objects = dict[str, list[bytes]]


@pytest.fixture(scope="module")
def objects() -> Objects:
    """Object id -> its packets."""
    found: Objects = {}
    for payload in PACKETS:
        found.setdefault(record_of(payload)["objectId"], []).append(payload)
    return found


def record_of(payload: bytes) -> dict[str, Any]:
    """A packet as Fink decodes it."""
    (read,) = islice(iter_container(payload), 1)
    return dict(read.record)


def expected(packets: list[bytes]) -> tuple[float, ...]:
    """Probabilities of the entry point."""
    (said,) = classify_sequences(sequences_of(packets))
    assert said.probabilities is not None
    return said.probabilities


@pytest.mark.parametrize("form", [bytes, record_of])
def test_a_series_of_alerts_gives_probabilities(objects: Objects, form: Any) -> None:
    """A row an object, packets or decoded records: the probabilities are the entry point's, the index is kept."""
    series = pd.Series([list(map(form, packets)) for packets in objects.values()], index=list(objects))
    frame = convention_scores(series)
    assert list(frame.index) == list(objects)
    assert [column.split()[0] for column in RESULT.split(", ")] == list(frame.columns)
    for name, packets in objects.items():
        assert tuple(frame.loc[name, list(CLASS_NAMES)]) == pytest.approx(expected(packets))
        assert frame.loc[name, "num_frames"] == 6
    assert set(frame["status"]) <= {"classified", "abstained"}


def test_rows_without_an_answer_have_nulls(objects: Objects) -> None:
    """Too short, empty, missing and unreadable rows have no probabilities, each its status, and disturb nobody."""
    (name, packets), *_ = objects.items()
    series = pd.Series([packets[:1], [], None, [packets[0], packets[1][:-50]], packets])
    frame = convention_scores(series)
    assert list(frame["status"][:4]) == ["too_short", "no_frames", "no_frames", "unreadable"]
    assert frame["reason"][3] == "bad_container"
    assert frame.loc[:3, list(CLASS_NAMES)].isna().all(axis=None)
    assert tuple(frame.loc[4, list(CLASS_NAMES)]) == pytest.approx(expected(packets)), name


def test_alerts_of_several_objects_are_no_row() -> None:
    """A row that mixes objects is a mistake of the query."""
    with pytest.raises(ValueError, match="row 0 has alerts of several objects"):
        convention_scores(pd.Series([PACKETS]))


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A local Spark session; skips without pyspark or Java."""
    sql = pytest.importorskip("pyspark.sql", reason="pyspark comes with the extra fink", exc_type=ImportError)
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.spark
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")
def test_in_a_spark_session(spark: Any, objects: Objects) -> None:
    """Alerts grouped by object in Spark, as packets and as the records of Fink's schema, get the same answers."""
    from pyspark.sql import functions as F

    rows = [(record_of(payload)["objectId"], payload) for payload in PACKETS]
    packets = spark.createDataFrame(rows, "objectId string, packet binary")
    grouped = packets.groupBy("objectId").agg(F.collect_list("packet").alias("alerts"))
    check(grouped.withColumn("said", science_module()(F.col("alerts"))).collect(), objects)

    candidate = ", ".join(
        f"{name}: {spark_type(value)}" for name, value in record_of(PACKETS[0])["candidate"].items()
    )
    stamp = "struct<fileName: string, stampData: binary>"
    schema = (
        f"objectId string, candid long, schemavsn string, candidate struct<{candidate}>, "
        f"cutoutScience {stamp}, cutoutDifference {stamp}"
    )
    decoded = [tuple(record_of(payload)[name] for name in COLUMNS) for payload in PACKETS]
    alerts = spark.createDataFrame(decoded, schema)
    grouped = alerts.groupBy("objectId").agg(F.collect_list(F.struct(*COLUMNS)).alias("alerts"))
    check(grouped.withColumn("said", science_module()(F.col("alerts"))).collect(), objects)


def check(rows: list[Any], objects: Objects) -> None:
    """Each object's probabilities are those of the entry point."""
    assert {row["objectId"] for row in rows} == set(objects)
    for row in rows:
        assert tuple(row["said"][name] for name in CLASS_NAMES) == pytest.approx(expected(objects[row["objectId"]]))


def spark_type(value: Any) -> str:
    """The Spark type of a Python value of a packet."""
    return {bool: "boolean", int: "bigint", float: "double"}.get(type(value), "string")

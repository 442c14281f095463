"""A science module for Fink: a pandas Series of alerts in, probabilities out. Needs the extra ``fink``.

A Fink alert has its own cutouts and no older ones, so the function takes what an object's alerts have been so far,
one array of alerts a row (``collect_list`` over the object). Alerts may be the packets themselves or the records that
Fink decodes them to:

    alerts = df.groupBy("objectId").agg(F.collect_list(F.struct(*COLUMNS)).alias("alerts"))
    scored = alerts.withColumn("convention", science_module()(F.col("alerts")))

Every executor loads the bundle once. An alert that cannot be read costs its object a row of nulls with a reason, not
the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from broker_plugin.api import classify_sequences, sequences_of
from schemas.avro import AvroRecord
from schemas.classification import CLASS_NAMES, Classification
from schemas.errors import PacketError
from schemas.sequence import StampSequence

# the fields of a ZTF alert that are read
COLUMNS: Final = ("objectId", "candid", "schemavsn", "candidate", "cutoutScience", "cutoutDifference")
SCHEMA_NAME: Final = "ztf.alert"
UNREADABLE: Final = "unreadable"
NO_FRAMES: Final = "no_frames"
# the columns of the result, as Spark's DDL
RESULT: Final = ", ".join(
    (
        "status string, reason string, predicted_class string",
        *(f"{name} float" for name in CLASS_NAMES),
        "novelty float, num_frames int, bundle_id string",
    )
)


def convention_scores(alerts: pd.Series[Any], bundle: Path | str | None = None) -> pd.DataFrame:
    """What the ensemble says of each row's object, a row each, in order; the columns are those of RESULT.

    alerts: a row's alerts in any order, as packets (bytes) or as decoded ZTF records (mappings, Spark rows); None and
    an empty row are allowed. bundle: as in ``broker_plugin.api.classify_sequences``. Probabilities are null where
    nothing was scored: too_short, or status ``unreadable`` or ``no_frames``, which only this function has.

    ValueError when a row has alerts of several objects.
    """
    rows: list[dict[str, Any]] = [_nothing(NO_FRAMES, None) for _ in range(len(alerts))]
    places: list[int] = []
    sequences: list[StampSequence] = []
    for place, found in enumerate(alerts):
        try:
            of_row = sequences_of(map(_packet, () if found is None else found), bundle=bundle)
        except PacketError as error:
            rows[place] = _nothing(UNREADABLE, error.reason.value)
            continue
        if len(of_row) > 1:
            names = ", ".join(sequence.object_id for sequence in of_row)
            raise ValueError(f"row {place} has alerts of several objects: {names}")
        if of_row:
            places.append(place)
            sequences += of_row
    for place, said in zip(places, classify_sequences(sequences, bundle), strict=True):
        rows[place] = _row(said)
    return pd.DataFrame(rows, columns=list(_nothing(NO_FRAMES, None)), index=alerts.index)


def science_module(bundle: Path | str | None = None) -> Callable[..., Any]:
    """``convention_scores`` as a Spark column function (a pandas UDF whose result is the struct RESULT)."""
    from pyspark.sql.functions import pandas_udf

    def convention(alerts: pd.Series) -> pd.DataFrame:  # Spark reads these types
        return convention_scores(alerts, bundle)

    udf: Callable[..., Any] = pandas_udf(convention, RESULT)
    return udf


def _packet(alert: Any) -> bytes | AvroRecord:
    if isinstance(alert, bytes | bytearray | memoryview):
        return bytes(alert)
    record = alert.asDict(recursive=True) if hasattr(alert, "asDict") else dict(alert)
    return AvroRecord(SCHEMA_NAME, {name: _plain(value) for name, value in record.items()})


def _plain(value: Any) -> Any:
    """Nested records as dicts and cutouts as bytes, whatever Arrow made of them."""
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return value


def _row(said: Classification) -> dict[str, Any]:
    probabilities: Iterable[float | None] = said.probabilities or (None,) * len(CLASS_NAMES)
    return {
        "status": said.status.value,
        "reason": said.reason,
        "predicted_class": said.predicted_class,
        **dict(zip(CLASS_NAMES, probabilities, strict=True)),
        "novelty": said.novelty,
        "num_frames": said.num_frames,
        "bundle_id": said.bundle_id,
    }


def _nothing(status: str, reason: str | None) -> dict[str, Any]:
    empty = {"status": status, "reason": reason, "predicted_class": None, **dict.fromkeys(CLASS_NAMES)}
    return empty | {"novelty": None, "num_frames": 0, "bundle_id": None}

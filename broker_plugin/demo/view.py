"""What the demo shows: the table of objects, the account of every alert, the picture of one sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from broker_plugin.accounts.ledger import Account
from broker_plugin.evaluation.object_view import ObjectView, write_png
from broker_plugin.evaluation.records import DeliveredRecord, Delivery
from broker_plugin.evaluation.sequence_image import png_bytes, sequence_grid
from broker_plugin.evaluation.stamp_archive import StampLogValue, sequence_of
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.messages import HEADER_TRIGGER_SOURCE_ID
from broker_plugin.settings.sections import Settings
from model.bundle_store import read_spec, shipped_bundles
from schemas.classification import Classification, Status
from schemas.observation import Observation, read_fact

MAX_ROWS: Final = 40
STYLES: Final = {Status.CLASSIFIED: "bold", Status.ABSTAINED: "", Status.TOO_SHORT: "dim"}
ABSTAINS: Final = {"low_confidence": "unsure"}
# what a picture is best of
CHANGING: Final = ("SNIa", "SNOther")

Records = dict[bytes, list[tuple[str, Classification]]]


def read_records(settings: Settings) -> Records:
    """By object key, (trigger's source id, record) in the order of the log."""
    records: Records = {}
    for message in read_topic(settings.output, settings.output.topic):
        headers: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]
        key: bytes = message.key() or b""
        record = Classification.from_bytes(message.value() or b"")
        records.setdefault(key, []).append((headers[HEADER_TRIGGER_SOURCE_ID].decode(), record))
    return records


def show_bundles(records: Records, console: Console) -> None:
    """What the cards of the bundles that spoke say first: how far to trust them."""
    spoke = {record.bundle_id for of_object in records.values() for _, record in of_object}
    for path in shipped_bundles():
        spec = read_spec(path)
        name = f"{spec.name}-{spec.version}"
        if spec.notes and any(bundle_id.startswith(f"{name}-") for bundle_id in spoke):
            console.print(f"{name}: {' '.join(spec.notes)}", style="dim")


def show_objects(records: Records, drawn: Mapping[bytes, str], console: Console) -> None:
    """The last record of each object, those with most frames first; what does not fit is counted.

    says: the class, or in brackets why the ensemble abstains. p: of the most probable class.
    """
    last = {key: of_object[-1][1] for key, of_object in records.items()}
    ordered = sorted(last, key=lambda key: (key in drawn, -last[key].num_frames, key))
    shown = [key for key in ordered if last[key].status is not Status.TOO_SHORT][:MAX_ROWS]
    table = Table(title="Last record of every object", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("object", "drawn as", "says", "p", "spread", "frames per band"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("p", "spread") else "left")
    for key in shown:
        table.add_row(*_row(last[key], drawn.get(key)), style=STYLES[last[key].status])
    too_short = sum(record.status is Status.TOO_SHORT for record in last.values())
    left_out = len(last) - len(shown) - too_short
    table.caption = f"{len(last)} objects: {too_short} have too few frames to be asked about" + (
        f", {left_out} more not shown" if left_out else ""
    )
    console.print(table)


def _row(record: Classification, drawn: str | None) -> tuple[str, ...]:
    best = spread = "-"
    if record.probabilities is not None and record.spread is not None:
        place = max(range(len(record.probabilities)), key=record.probabilities.__getitem__)
        best, spread = f"{record.probabilities[place]:.2f}", f"{record.spread[place]:.2f}"
    bands = " ".join(f"{band}{count}" for band, count in record.frames_per_band.items() if count)
    reason = record.reason or record.status.value
    says = record.predicted_class or f"({ABSTAINS.get(reason, reason)})"
    return record.object_id, drawn or "real", says, best, spread, bands


def show_ledger(accounts: Mapping[tuple[str, str, int], Account], console: Console) -> None:
    """Offsets by role and outcome, and whether every one has its outcome."""
    table = Table(title="Ledger: what became of every offset", box=SIMPLE_HEAD)
    for column in ("role", "outcome", "offsets"):
        table.add_column(column, justify="right" if column == "offsets" else "left")
    counts: Counter[tuple[str, str]] = Counter()
    for (role, _, _), account in accounts.items():
        for (outcome, reason), count in account.counts.items():
            counts[role, outcome if reason is None else f"{outcome}: {reason}"] += count
    for (role, outcome), count in sorted(counts.items()):
        table.add_row(role, outcome, str(count))
    gaps = sum(len(account.gaps) for account in accounts.values())
    table.caption = "balanced" if gaps == 0 else f"{gaps} gaps"
    console.print(table)


def draw_one(settings: Settings, records: Records, drawn: Mapping[bytes, str], output: Path) -> Path:
    """The picture of the real object with most frames, else of the supernova with most; returns its path."""
    chosen = max(
        records, key=lambda key: (key not in drawn, _changes(records[key][-1][1]), records[key][-1][1].num_frames)
    )
    survey, _, object_id = chosen.decode().partition(":")
    log = read_topic(settings.internal, settings.internal.stamp_log_topic)
    stamps = [
        StampLogValue(key=chosen, offset=int(message.offset() or 0), value=message.value() or b"")
        for message in log
        if message.key() == chosen
    ]
    sequence = sequence_of(survey, object_id, stamps)
    assert sequence is not None, "an object with a record has a frame"
    view = ObjectView(survey, object_id, _delivered(records[chosen], stamps), sequence)
    path = output / f"{object_id}.png"
    try:
        write_png(view, path)
    except ModuleNotFoundError:  # matplotlib is an extra; without it the picture has no labels
        path.write_bytes(png_bytes(sequence_grid(sequence, "science")[1]))
    return path


def _changes(record: Classification) -> bool:
    return record.predicted_class in CHANGING


def _delivered(
    records: Sequence[tuple[str, Classification]], stamps: Sequence[StampLogValue]
) -> tuple[DeliveredRecord, ...]:
    """The records with the time and band of what triggered them."""
    facts = {fact.source_id: fact for stamp in stamps if isinstance(fact := read_fact(stamp.value), Observation)}
    return tuple(
        DeliveredRecord(
            record,
            Delivery(trigger_source_id=source, trigger_mjd=facts[source].mjd, trigger_band=facts[source].band),
        )
        for source, record in records
        if source in facts
    )

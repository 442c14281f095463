"""Every labelled real object of the sample packets, scored once by the shipped bundles: a page.

    python -m benchmarks.real_objects --output docs/real_objects.md

Labels come from the samples' table with the source that it names; ``TRUST`` says what a source is worth. An object's
sequence is all that the samples hold of it, through the worker's own code. Most have one or two stamps where a worker
waits for three: those are asked about all the same, in a table of their own. Nothing was trained or tuned on them.
A label that says nothing of the four classes (``ignore``) is counted with its reason, and its object is not scored.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker_plugin.api import sequences_of
from broker_plugin.demo.packets import sample_folder
from broker_plugin.store.triggers import LoadedBundle
from broker_plugin.version import plugin_version
from broker_plugin.worker.scoring import classify_sequences
from model.bundle_store import resolve_bundle, shipped_bundles
from model.runtime import load_scorer
from model.scores import CLASSES, Eligibility
from schemas.archive.packet import Damage
from schemas.archive.reader import ArchiveReader
from schemas.classification import Classification, Status
from schemas.errors import PacketError, SettingsError
from schemas.surveys import lsst, ztf
from train.label_table import IGNORE, UNKNOWN, read_mapping

GRIDS: Final = {"ztf": ztf.GRID_ID, "lsst": lsst.GRID_ID}  # of the surveys whose cutouts are grown to sequences
TRUST: Final = {
    "Fink tns": "spectroscopic class of the Transient Name Server",
    "SIMBAD via Fink": "catalogue cross-match by position, not looked at by eye",
    "GCVS": "variable-star catalogue cross-match within 2 arcsec",
    "ALeRCE labels csv": "a broker's training labels, from catalogues",
    "repo note": "spectroscopic (SN 2021rhu)",
    "fink tde": "a list of tidal disruption events, cross-match by position",
}
FAILED: Final = "Fail "  # Fink's cross-match service answered with this HTTP status instead of a type
FAILED_LOOK_UP: Final = "the look-up failed"
CANDIDATE: Final = "candidates, not confirmed"
SAYS_NOTHING: Final = "types that do not say which class it is"
REASONS: Final = (FAILED_LOOK_UP, CANDIDATE, SAYS_NOTHING)


@dataclass(slots=True)
class LabelledObject:
    """files: of the samples' table, with the records in them; meaning: class, ``unknown`` or ``ignore``."""

    survey: str
    object_id: str
    label: str
    source: str
    meaning: str
    files: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


def labelled_objects(samples: Path) -> list[LabelledObject]:
    """Of surveys whose sequences are grown, in the table's order. SettingsError names labels that nothing maps."""
    mapping = read_mapping()
    unmapped: set[str] = set()
    found: dict[tuple[str, str], LabelledObject] = {}
    with (samples / "MANIFEST.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            if not row["label"] or row["survey"] not in GRIDS or not row["objectId"]:
                continue
            own = meaning(row["label"], row["label4"], mapping)
            if own is None:
                unmapped.add(row["label"])
                continue
            item = found.setdefault(
                (row["survey"], row["objectId"]),
                LabelledObject(row["survey"], row["objectId"], row["label"], row["label_source"], own),
            )
            item.files[row["file"]].add(int(row["index"]))
    if unmapped:
        listed = ", ".join(sorted(unmapped))
        raise SettingsError(f"{samples / 'MANIFEST.csv'}: labels that train/tables/class_names.csv lacks: {listed}")
    return list(found.values())


def of_other_surveys(samples: Path) -> list[str]:
    """Labelled objects of surveys that no bundle is for, each with its survey and label."""
    with (samples / "MANIFEST.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["label"] and row["objectId"]]
    return sorted(
        {f"{row['survey']} {row['objectId']} ({row['label']})" for row in rows if row["survey"] not in GRIDS}
    )


def meaning(label: str, own_class: str, mapping: Mapping[str, str]) -> str | None:
    """Class, ``unknown`` or ``ignore`` of a label: by the mapping, else by the class that the samples' table states
    (``own_class``; types of GCVS and ALeRCE). None where neither knows it."""
    name = label.removeprefix("GCVS ").partition(" (")[0].partition(" AT ")[0]
    if name.startswith(FAILED):
        return IGNORE
    return mapping.get(name, own_class if own_class in CLASSES else None)


def left_out(items: Sequence[LabelledObject]) -> list[str]:
    """A table of the objects whose label is ``ignore``: why, how many, which labels."""
    labels: dict[str, Counter[str]] = {reason: Counter() for reason in REASONS}
    for item in items:
        labels[reason_of(item.label)][item.label] += 1
    lines = ["| why | objects | labels |", "|---|---|---|"]
    for reason, counts in labels.items():
        names = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        lines.append(f"| {reason} | {counts.total()} | {names} |")
    return lines


def reason_of(label: str) -> str:
    """Why a label that is ``ignore`` says nothing."""
    if label.startswith(FAILED):
        return FAILED_LOOK_UP
    return CANDIDATE if label.endswith(("_Candidate", "?")) else SAYS_NOTHING


def packets_of(samples: Path, items: Sequence[LabelledObject]) -> list[list[bytes]]:
    """The packets of each as they lie in the archives, each of which is read once; those that cannot be read are left
    out."""
    found: list[list[bytes]] = [[] for _ in items]
    wanted: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, item in enumerate(items):
        for file, numbers in item.files.items():
            for number in numbers:
                wanted[file][number].append(place)
    damage: list[Damage] = []
    for file, by_number in wanted.items():
        for number, packet in enumerate(ArchiveReader([samples / file], damage.append)):
            for place in by_number.get(number, ()):
                found[place].append(packet.payload)
    return found


class Scoring:
    """Bundles by the grid of their stamps, each asked whatever the length of a sequence is."""

    def __init__(self, bundles: Sequence[str]) -> None:
        scorers = [load_scorer(path) for path in [resolve_bundle(name) for name in bundles] or shipped_bundles()]
        self.by_grid = {scorer.view_rule.grid_id: scorer for scorer in reversed(scorers)}

    def score(self, item: LabelledObject, packets: Sequence[bytes]) -> Row:
        """One object; an answer that a worker would give is ``enough``."""
        scorer = self.by_grid[GRIDS[item.survey]]
        try:
            sequences = sequences_of(packets, bundle=scorer.bundle.folder)
        except PacketError as error:
            return Row(item, why=str(error))
        wanted = [sequence for sequence in sequences if sequence.object_id == item.object_id]
        if not wanted:
            return Row(item, why="no usable stamp")
        asked = LoadedBundle(scorer, scorer.view_rule, Eligibility())
        found = classify_sequences(wanted, [asked], plugin_version=plugin_version())[0]
        return Row(item, found, enough=scorer.eligibility.shortfall(wanted[0]) is None)


@dataclass(frozen=True, slots=True)
class Row:
    """found: what the bundle says; enough: whether a worker would publish it; why: nothing is said."""

    item: LabelledObject
    found: Classification | None = None
    enough: bool = False
    why: str = ""


def page(rows: Sequence[Row], ignored: Sequence[LabelledObject], others: Sequence[str]) -> str:
    """Markdown: what was scored, then objects that a worker would publish, those that are too short for it, those
    that have no stamp, those whose label says nothing, and ``others``, of surveys that no bundle is for."""
    rows = sorted(rows, key=lambda row: (-frames(row), row.item.survey, row.item.object_id))
    said = [row for row in rows if row.found is not None]
    bundles = sorted({row.found.bundle_id for row in said if row.found is not None})
    enough = [row for row in said if row.enough]
    lines = [
        "# Real objects with labels",
        "",
        "Every object of the sample packets whose label says what it is, scored once by each version of the bundles,",
        "which are trained on simulation alone; nothing was chosen by what this page shows. What 1.0 (without trees)",
        "had made of them is in this file's history. Made by",
        "`python -m benchmarks.real_objects --output docs/real_objects.md`.",
        "",
        f"Bundles: {', '.join(f'`{name}`' for name in bundles)}.",
        f"{len(rows)} objects: {len(enough)} long enough for a worker,",
        f"{len(said) - len(enough)} shorter, {len(rows) - len(said)} without a usable stamp.",
        f"{len(ignored)} more objects have a label that says nothing of the four classes: left out, see the end.",
        "",
        "| label from | what that is worth |",
        "|---|---|",
        *(f"| {source} | {worth} |" for source, worth in TRUST.items()),
        "",
        "A label becomes a class by `train/tables/class_names.csv`; types that only GCVS or ALeRCE know, by the",
        "samples' own table. Of SIMBAD's types those are Variable that its list of types puts under Variable Star",
        "(V*), but for novae, and those that it puts under Young Stellar Object. Class `unknown` is a type of none",
        "of the four (a nova, a tidal disruption): right is a high novelty or an abstention.",
        "",
        "## Long enough for a worker",
        "",
        summary(enough),
        "",
        *table(enough),
        "",
        "## Shorter than a worker waits for",
        "",
        "A worker says `too_short` and gives no probabilities; this is what the networks say when asked anyway.",
        summary([row for row in said if not row.enough]),
        "",
        *table([row for row in said if not row.enough]),
        "",
        "## No usable stamp",
        "",
        *(
            f"* {row.item.object_id} ({row.item.label}, {row.item.source}): {row.why}"
            for row in rows
            if row.found is None
        ),
        "",
        "## Left out",
        "",
        f"{len(ignored)} objects whose label does not say of which class they are, nor that they are of none. What",
        "varied where a catalogue has a supergiant or a white dwarf is not known; a supernova without a type is SNIa",
        "or SNOther; `Inexistent` is SIMBAD's word for an entry that is no object.",
        "",
        *left_out(ignored),
        "",
        f"Of surveys that no bundle is for: {', '.join(others) or 'none'}.",
    ]
    return "\n".join(lines) + "\n"


def frames(row: Row) -> int:
    """Of its sequence."""
    return 0 if row.found is None else row.found.num_frames


def summary(rows: Sequence[Row]) -> str:
    """How often the answer is the label's class, for objects of the four classes that are not abstained on."""
    known = [row for row in rows if row.item.meaning in CLASSES]
    answered = [row for row in known if row.found is not None and row.found.status is Status.CLASSIFIED]
    right = sum(row.found is not None and row.found.predicted_class == row.item.meaning for row in answered)
    likeliest = sum(likeliest_class(row) == row.item.meaning for row in known)
    outside = [row for row in rows if row.item.meaning == UNKNOWN]
    unanswered = sum(row.found is not None and row.found.status is not Status.CLASSIFIED for row in outside)
    said = (
        f"Of {len(known)} objects of the four classes {likeliest} are likeliest what they are labelled;\n"
        f"{len(answered)} are answered, {right} of them as labelled."
    )
    return f"{said} Of {len(outside)} objects of none of the four {unanswered} are abstained on." if outside else said


def likeliest_class(row: Row) -> str | None:
    """Of the probabilities, answered or not."""
    if row.found is None or row.found.probabilities is None:
        return None
    return CLASSES[max(range(len(CLASSES)), key=row.found.probabilities.__getitem__)]


def table(rows: Sequence[Row]) -> list[str]:
    """Probabilities and novelty of each."""
    lines = [
        "| object | label | source | class | frames | status | " + " | ".join(CLASSES) + " | novelty |",
        "|---|---|---|---|---|---|" + "---|" * (len(CLASSES) + 1),
    ]
    for row in rows:
        item, found = row.item, row.found
        if found is None or found.probabilities is None or found.novelty is None:
            raise ValueError(f"{item.object_id} has no probabilities")
        values = " | ".join(f"{value:.3f}" for value in found.probabilities)
        status = found.status.value if found.reason is None else f"{found.status.value}: {found.reason}"
        lines.append(
            f"| {item.object_id} | {item.label} | {item.source} | {item.meaning} | {found.num_frames} | {status} "
            f"| {values} | {found.novelty:.2f} |"
        )
    return lines


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--bundle", action="append", default=[], help="instead of the shipped ones")
    args = parser.parse_args()
    samples = sample_folder()
    scoring = Scoring(args.bundle)
    labelled = labelled_objects(samples)
    ignored = [item for item in labelled if item.meaning == IGNORE]
    items = [item for item in labelled if item.meaning != IGNORE]
    rows = [scoring.score(item, packets) for item, packets in zip(items, packets_of(samples, items), strict=True)]
    args.output.write_text(page(rows, ignored, of_other_surveys(samples)), encoding="utf-8")


if __name__ == "__main__":
    main()

"""``train``: training sets and bundles. The work is in the package train; here it meets settings and brokers."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker_plugin.commands.archive_arguments import named_path, say_passed_over
from broker_plugin.commands.common import add_settings_arguments, require_empty_folder, settings_from
from broker_plugin.commands.comparison import add_comparison_arguments, run_comparison
from broker_plugin.commands.training import add_training_arguments, run_training
from schemas.errors import RecordError

if TYPE_CHECKING:
    from broker_plugin.settings.sections import Settings
    from schemas.archive.packet import Damage
    from train.fact_set import Snapshot

HELP: Final = (
    "Train, calibrate and export a bundle from a recipe; what is cut off is continued by the same command.\n"
    "With an ACTION: make training sets from the stamp log, from archives or from the published stamp layout, or\n"
    "run the comparison."
)
EXAMPLE: Final = "convention-broker train --recipe debug --output runs/debug"
# action -> (one line, what is typed after its name)
ACTIONS: Final = {
    "export-log": (
        "freeze the stamp log to a snapshot of sequences with a digest",
        "--config deploy/config.example.toml --output snapshots/today",
    ),
    "import-archive": (
        "archived alert packets to a snapshot of sequences",
        "ztf_public_20210901.tar.gz --output snapshots/ztf",
    ),
    "import-published": (
        "the published SDSS stamp layout (.npz) to sequences",
        "published/npz --output sets/published",
    ),
    "compare": (
        "networks and controls on the same objects, cell by cell; the table",
        "--plan published --output docs/comparison --minutes 170",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Training itself, and a sub-verb for each way to make a training set."""
    add_training_arguments(parser)
    verbs = parser.add_subparsers(dest="action", required=False, metavar="ACTION")
    export = _add_action(verbs, "export-log")
    add_settings_arguments(export)
    archive = _add_action(verbs, "import-archive")
    archive.add_argument(
        "paths", nargs="+", type=named_path, metavar="PATH", help="files, folders, tars, Kafka dumps"
    )
    programs = "ZTF programs let through; may be repeated; default 1"
    archive.add_argument("--programid", type=int, action="append", default=[], metavar="N", help=programs)
    published = _add_action(verbs, "import-published")
    published.add_argument("source", type=Path, metavar="DIR", help="a folder of one .npz an object")
    mapping = "class mapping, CSV name,class; default: the names of TNS and SIMBAD"
    published.add_argument("--mapping", type=Path, default=None, metavar="FILE", help=mapping)
    compare = _add_action(verbs, "compare")
    add_comparison_arguments(compare)
    for verb in (export, archive, published):
        verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="a folder that is new or empty")


def _add_action(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> argparse.ArgumentParser:
    help_text, rest = ACTIONS[name]
    return verbs.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        epilog=f"example:\n  convention-broker train {name} {rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(args: argparse.Namespace) -> int:
    """Train, or run the sub-verb."""
    actions = {
        None: run_training,
        "export-log": _export_log,
        "import-archive": _import_archive,
        "import-published": _import_published,
        "compare": run_comparison,
    }
    return actions[args.action](args)


def _export_log(args: argparse.Namespace) -> int:
    _report(export_log(settings_from(args), args.output))
    return 0


def export_log(settings: Settings, output: Path) -> Snapshot:
    """The stamp log from its beginning to its end as reached, as a snapshot."""
    from broker_plugin.kafka.topics import require_brokers
    from train.fact_set import write_snapshot

    require_brokers(settings, "internal")
    topic = settings.internal.stamp_log_topic
    made = {"source": "stamp log", "topic": topic, "bootstrap_servers": settings.internal.bootstrap_servers}
    values = _LogValues(settings, topic)
    return write_snapshot(output, values, made, refused=values.refused)


class _LogValues:
    """The stamp log's values; says where one that is no fact stands, which a worker's classify dead-letters too."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._place = ""

    def __iter__(self) -> Iterator[bytes]:
        from broker_plugin.kafka.topic_reader import read_topic

        for message in read_topic(self._settings.internal, self._topic):
            self._place = f"partition {message.partition()}, offset {message.offset()}"
            yield message.value() or b""

    def refused(self, error: RecordError) -> None:
        """Of the value that was yielded last."""
        print(f"{self._topic}, {self._place}: {error}; left out", file=sys.stderr)  # noqa: T201


def _import_archive(args: argparse.Namespace) -> int:
    from schemas.cuts import Cuts
    from train.archive import archived_facts
    from train.fact_set import write_snapshot

    say_passed_over(args.paths)
    counts: Counter[str] = Counter()
    cuts = Cuts(programids=frozenset(args.programid or [1]))
    facts = archived_facts(args.paths, cuts=cuts, counts=counts, damage=_complain)
    made = {"source": "archive", "paths": [str(path) for path in args.paths]}
    _report(write_snapshot(args.output, facts, made))
    _say(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 0


def _import_published(args: argparse.Namespace) -> int:
    from train.dataset import simulated
    from train.label_table import read_mapping
    from train.published_layout import import_published

    require_empty_folder(args.output, "--output")
    mapping = read_mapping(args.mapping)
    sequences = import_published(args.source, args.output, mapping=mapping, progress=lambda count: None)
    _say(f"{len(sequences)} objects in {args.output}")
    for split, classes in simulated(sequences).counts().items():
        _say(f"  {split:<12} " + "  ".join(f"{name} {count}" for name, count in classes.items()))
    return 0


def _complain(damage: Damage) -> None:
    print(f"{damage.path}: {damage.detail}", file=sys.stderr)  # noqa: T201


def _report(snapshot: Snapshot) -> None:
    from train.simulator.sequence_set import SequenceSet

    for folder, digest in snapshot.sets.items():
        _say(f"{folder}: {len(SequenceSet(folder))} objects, sha256 {digest}")


def _say(text: str) -> None:
    print(text)  # noqa: T201

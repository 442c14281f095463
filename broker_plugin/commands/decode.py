"""``decode``: what becomes of packets, one line each."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker_plugin.commands.archive_arguments import named_path, say_passed_over
from schemas.errors import ArchiveError, PacketError, SchemaUnavailable, SettingsError

if TYPE_CHECKING:
    from schemas.archive.packet import Damage
    from schemas.wire import PacketReader

HELP: Final = (
    "Decode the alert packets of an archive (files, folders, tars, containers, Kafka dumps), one line a packet. "
    "Status 1 when no packet can be read."
)
EXAMPLE: Final = "convention-broker decode alerts/ --json"
DEAD_LETTER: Final = "dead_letter"
SCHEMA_UNAVAILABLE: Final = "schema_unavailable"
# part of an archive that no packet could be read from: its line has no index
DAMAGED: Final = "damaged_archive"
NO_PIXELS: Final = "no_pixels"
KEYS: Final = (
    "path", "index", "survey", "schema", "object_id", "source_id", "mjd", "band", "outcome", "reason",
    "flux_sum_njy", "num_valid", "cutouts", "detail",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, ``--schema`` and ``--json``."""
    parser.add_argument("paths", nargs="+", type=named_path, metavar="PATH", help="an archive, or a folder of them")
    parser.add_argument(
        "--schema",
        metavar="NAME",
        help="schema of packets that carry none and state no known id: lsst.vMAJOR_MINOR or an .avsc file",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the lines. ArchiveError when no packet could be decoded or there was none, SettingsError when a path does
    not exist or ``--schema`` is no schema."""
    from schemas.archive.reader import ArchiveReader

    def damage(found: Damage) -> None:
        lost = {"path": found.path, "outcome": DEAD_LETTER, "reason": DAMAGED, "detail": found.detail}
        _print(lost, as_json=args.json)

    say_passed_over(args.paths)
    reader, outcomes = _packet_reader(args.schema), Counter[str]()
    for packet in ArchiveReader(args.paths, damage):
        line = _line(packet.payload, reader)
        outcomes[line["outcome"]] += 1
        _print({"path": packet.path, "index": packet.index} | line, as_json=args.json)
    if outcomes.total() == outcomes[DEAD_LETTER]:
        raise ArchiveError(f"no packet of {', '.join(map(str, args.paths))} can be read")
    return 0


def _packet_reader(schema: str | None) -> PacketReader:
    from schemas.surveys.lsst_wire import schema_named
    from schemas.wire import PacketReader

    if schema is None:
        return PacketReader()
    try:
        stated = schema_named(schema) or json.loads(Path(schema).read_text(encoding="utf-8"))
        return PacketReader(stated=stated)
    except OSError as error:
        raise SettingsError(f"--schema {schema}: no bundled schema, and no file: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"--schema {schema}: no JSON: {error}") from error
    except PacketError as error:
        raise SettingsError(f"--schema {schema}: {error.detail}") from error


def _print(line: dict[str, Any], *, as_json: bool) -> None:
    """Every key in one order, null for what is not known."""
    line = {key: line.get(key) for key in KEYS}
    shown = (f"{key}={value}" for key, value in line.items() if value is not None)
    print(json.dumps(line) if as_json else " ".join(shown))  # noqa: T201


def _line(payload: bytes, reader: PacketReader) -> dict[str, Any]:
    from schemas.decode import PacketDecoder, survey_of
    from schemas.observation import Observation
    from schemas.outcome import Filtered

    line: dict[str, Any] = {}
    try:
        packet = reader.read(payload)
        line["schema"] = packet.schema_name
        survey = survey_of(packet)
        line["survey"] = survey.name
        line["cutouts"] = {name: _pixels(data) for name, data in survey.cutouts(packet.record).items()}
        identity = survey.read_header(packet.record, packet.schema_name).identity
        line |= {"object_id": identity.object_id, "source_id": identity.source_id}
        line |= {"mjd": identity.mjd, "band": identity.band}
        outcome = PacketDecoder().decode_record(packet)
    except PacketError as error:
        return line | {"outcome": DEAD_LETTER, "reason": error.reason.value, "detail": error.detail}
    except SchemaUnavailable as error:
        return line | {"outcome": DEAD_LETTER, "reason": SCHEMA_UNAVAILABLE, "detail": str(error)}
    if isinstance(outcome, Filtered):
        return line | {"outcome": "filtered", "reason": outcome.reason.value}
    line |= {"outcome": "stamp", "reason": None}
    if isinstance(outcome.fact, Observation):
        difference = outcome.fact.difference  # SDSS-like packets have none
        line["flux_sum_njy"] = float(difference.pixels.sum()) if difference.num_valid else None
        line["num_valid"] = outcome.fact.num_valid
        if not outcome.fact.num_valid:
            line["reason"] = NO_PIXELS  # a masked frame: kept, and in no sequence
    return line


def _pixels(data: bytes | None) -> dict[str, Any] | None:
    """Shape and SHA-256 of the pixels as stored, as little-endian float32 in C order; None for a missing cutout."""
    from schemas.fits import read_image

    if data is None:
        return None
    try:
        image_HW = read_image(data)
    except PacketError as error:
        return {"error": error.reason.value}
    return {"shape": list(image_HW.shape), "sha256": hashlib.sha256(image_HW.astype("<f4").tobytes()).hexdigest()}

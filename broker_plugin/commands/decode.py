"""``decode``: what becomes of packets, one line each."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import PacketError

if TYPE_CHECKING:
    from schemas.archive.packet import Damage

HELP: Final = (
    "Decode the alert packets of an archive (files, folders, tars, containers, Kafka dumps), one line a packet."
)
EXAMPLE: Final = "convention-broker decode alerts/ --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths and ``--json``."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an archive, or a folder of them")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the lines; 2 when a path does not exist."""
    from schemas.archive.reader import ArchiveReader

    def damage(found: Damage) -> None:
        _print({"path": found.path, "outcome": "damaged", "detail": found.detail}, as_json=args.json)

    for packet in ArchiveReader(args.paths, damage):
        _print({"path": packet.path, "index": packet.index} | _line(packet.payload), as_json=args.json)
    return 0


def _print(line: dict[str, Any], *, as_json: bool) -> None:
    shown = (f"{key}={value}" for key, value in line.items() if value is not None)
    print(json.dumps(line) if as_json else " ".join(shown))  # noqa: T201


def _line(payload: bytes) -> dict[str, Any]:
    from schemas.avro import read_container
    from schemas.cuts import Cuts
    from schemas.decode import PacketDecoder, survey_of
    from schemas.observation import Observation
    from schemas.outcome import Filtered
    from schemas.surveys.base import HISTORIES

    line: dict[str, Any] = {}
    try:
        packet = read_container(payload, unread=HISTORIES)
        line["schema"] = packet.schema_name
        survey = survey_of(packet)
        identity = survey.read_header(packet.record, packet.schema_name).identity
        line |= {"survey": survey.name, "object_id": identity.object_id, "source_id": identity.source_id}
        line |= {"mjd": identity.mjd, "band": identity.band}
        line["cutouts"] = {name: _pixels(data) for name, data in survey.cutouts(packet.record).items()}
        outcome = PacketDecoder(cuts=Cuts()).decode_record(packet)
    except PacketError as error:
        return line | {"outcome": "dead_letter", "reason": error.reason.value, "detail": error.detail}
    if isinstance(outcome, Filtered):
        return line | {"outcome": "filtered", "reason": outcome.reason.value}
    line |= {"outcome": "stamp", "reason": None}
    if isinstance(outcome.fact, Observation):
        line["flux_sum_njy"] = float(outcome.fact.difference.pixels.sum())
        line["num_valid"] = outcome.fact.num_valid
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

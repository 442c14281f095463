"""``decode``: what becomes of packets, one line each."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import PacketError, SettingsError

HELP: Final = "Decode ZTF alert packets (files, or folders of them) and print one line a packet."
EXAMPLE: Final = "convention-broker decode alerts/ --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths and ``--json``."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a packet file, a container or a folder")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the lines; 2 when a path does not exist."""
    for path in args.paths:
        if not path.exists():
            raise SettingsError(f"{path}: no such file or folder")
    for path in args.paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            for line in _lines(file):
                text = (
                    json.dumps(line) if args.json else " ".join(f"{k}={v}" for k, v in line.items() if v is not None)
                )
                print(text)  # noqa: T201
    return 0


def _text(line: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in line.items() if value is not None)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    from schemas.avro import iter_container

    index = 0
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    try:
        for packet in iter_container(payload):
            yield {"path": str(path), "index": index} | _line(packet)
            index += 1
    except PacketError as error:
        yield {"path": str(path), "index": index, "outcome": "dead_letter", "reason": error.reason.value}


def _line(packet: Any) -> dict[str, Any]:
    from schemas.cuts import Cuts
    from schemas.decode import PacketDecoder, survey_of
    from schemas.observation import Observation
    from schemas.outcome import Filtered

    line: dict[str, Any] = {"schema": packet.schema_name}
    try:
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

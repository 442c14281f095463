"""``redrive``: dead letters back onto their topic."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from broker_plugin.commands.common import add_settings_arguments, positive_int, settings_from

if TYPE_CHECKING:
    from broker_plugin.accounts.redriving import Found, Redriver, Target
    from broker_plugin.settings.sections import Settings

HELP: Final = (
    "Put the packets of dead letters back on the topic they came from, once their cause is mended. A letter is "
    "redriven once (the ledger knows), so that an interrupted run can be repeated. Status 1 when a packet is nowhere "
    "to be had."
)
EXAMPLE: Final = "convention-broker redrive --config settings.toml --reason bad_avro --since 24h --dry-run"
UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings arguments, filters, target."""
    add_settings_arguments(parser)
    parser.add_argument("--reason", action="append", default=[], help="only letters of this reason; may be repeated")
    parser.add_argument(
        "--since", metavar="TIME", help="only letters since then: 2026-05-01T12:00 (UTC), or 90m, 24h, 7d ago"
    )
    parser.add_argument("--object", metavar="ID", help="only packets of this object (those readable by now)")
    parser.add_argument(
        "--readable", action="store_true", help="only packets that this version and registry can read"
    )
    parser.add_argument("--limit", type=positive_int, metavar="N", help="at most N letters, oldest first")
    parser.add_argument("--to", metavar="TOPIC", help="put all of them on this topic instead")
    parser.add_argument(
        "--cluster", choices=("input", "internal"), default="input", help="where --to TOPIC is (default: input)"
    )
    parser.add_argument("--again", action="store_true", help="also letters that were redriven before")
    parser.add_argument("--dry-run", action="store_true", help="say what would be redriven, and send nothing")
    parser.add_argument("--json", action="store_true", help="print JSON: the letters, and how many of each outcome")


def run(args: argparse.Namespace) -> int:
    """Redrive and say what was done; 1 when a packet is gone."""
    settings = settings_from(args)
    import os
    import socket
    import sys

    from broker_plugin.accounts.redriving import CHUNK, Redriver, Selection, Target
    from broker_plugin.kafka.topics import require_brokers
    from broker_plugin.telemetry.logs import configure_logs
    from schemas.errors import DeadLetterReason, SettingsError

    configure_logs(level="WARNING", stream=sys.stderr)
    known = {reason.value for reason in DeadLetterReason}
    if unknown := set(args.reason) - known:
        raise SettingsError(f"--reason {sorted(unknown)[0]}: expected one of {', '.join(sorted(known))}")
    selection = Selection(
        reasons=frozenset(args.reason),
        since_ms=since_ms(args.since, now=datetime.now(UTC)),
        limit=args.limit,
        again=args.again,
        wanted=_wanted(settings, args),
    )
    require_brokers(settings, "internal", *([] if args.dry_run else ["input"]))
    redriver = Redriver(settings, instance=f"{socket.gethostname()}-{os.getpid()}-redrive")
    target = Target(args.to, internal=args.cluster == "internal")
    rows: list[dict[str, Any]] = []
    chunk: list[Found] = []
    for found in redriver.find(selection):
        rows.append(_row(redriver, found, target, dry_run=args.dry_run))
        if found.payload is not None and not args.dry_run:
            chunk.append(found)
        if len(chunk) >= CHUNK:
            redriver.send(chunk, target)
            chunk = []
    if chunk:
        redriver.send(chunk, target)
    _report(rows, as_json=args.json)
    return 1 if any(row["action"] == "gone" for row in rows) else 0


def since_ms(text: str | None, *, now: datetime) -> int:
    """Unix time, ms, of an ISO date or of so long ago; 0 for None. SettingsError when it is neither."""
    from schemas.errors import SettingsError

    if text is None:
        return 0
    ago = re.fullmatch(r"(\d+)([mhd])", text)
    if ago is not None:
        return int((now - timedelta(**{UNITS[ago[2]]: int(ago[1])})).timestamp() * 1000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"--since {text!r}: expected 2026-05-01T12:00, or 90m, 24h, 7d") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _wanted(settings: Settings, args: argparse.Namespace) -> Callable[[bytes], bool] | None:
    """What admits a packet by its content; None when every packet is admitted."""
    if args.object is None and not args.readable:
        return None
    from broker_plugin.worker.ingest import packet_decoder
    from schemas.errors import PacketError, SchemaUnavailable

    decoder = packet_decoder(settings.ingest, settings.input)

    def wanted(payload: bytes) -> bool:
        try:
            if args.readable:
                decoder.decode(payload)
            return args.object is None or decoder.read_header(payload).identity.object_id == args.object
        except (PacketError, SchemaUnavailable):
            return False

    return wanted


def _row(redriver: Redriver, found: Found, target: Target, *, dry_run: bool) -> dict[str, Any]:
    letter = found.letter
    action = "gone" if found.payload is None else "would_redrive" if dry_run else "redriven"
    return {
        "action": action,
        "reason": letter.reason,
        "detail": letter.detail,
        "letter": f"{found.partition}:{found.offset}",
        "packet": f"{letter.topic}:{letter.partition}:{letter.offset}",
        "original": found.original,
        "attempt": found.attempt,
        "to": redriver.destination(found, target)[0],
        "size": letter.payload_size,
        "sha256": letter.payload_sha256.hex(),
    }


def _report(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    counts = {action: sum(row["action"] == action for row in rows) for action in sorted({r["action"] for r in rows})}
    if as_json:
        print(json.dumps({"letters": rows, "counts": counts}, indent=2))  # noqa: T201
        return
    for row in rows:
        print(*(f"{key}={value}" for key, value in row.items()))  # noqa: T201
    print("letters:", ", ".join(f"{count} {action}" for action, count in counts.items()) or "none selected")  # noqa: T201

"""``ledger``: what became of every offset."""

from __future__ import annotations

import argparse
import json
from typing import Final

from broker_plugin.commands.common import add_settings_arguments, settings_from

HELP: Final = "Read the ledger topic: outcomes by role and partition, and gaps. Status 1 when an offset is missing."
EXAMPLE: Final = "convention-broker ledger --config settings.toml --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings arguments and ``--json``."""
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, one object a partition")


def run(args: argparse.Namespace) -> int:
    """Print the accounts; 1 when one has a gap."""
    settings = settings_from(args)
    from broker_plugin.accounts.ledger import audit
    from broker_plugin.kafka.topic_reader import read_topic
    from broker_plugin.kafka.topics import require_brokers
    from schemas.errors import BrokerError
    from schemas.ledger import LedgerEntry

    require_brokers(settings, "internal")
    messages = read_topic(settings.internal, settings.internal.ledger_topic)
    accounts = audit(LedgerEntry.from_bytes(message.value() or b"") for message in messages)
    if not accounts:
        raise BrokerError(f"{settings.internal.ledger_topic}: no entry: is internal.topic_prefix the worker's?")
    rows = [
        {
            "role": role,
            "topic": topic,
            "partition": partition,
            "first_offset": account.first_offset,
            "last_offset": account.last_offset,
            "counts": {
                outcome if reason is None else f"{outcome}:{reason}": count
                for (outcome, reason), count in sorted(account.counts.items(), key=str)
            },
            "gaps": [list(gap) for gap in account.gaps],
        }
        for (role, topic, partition), account in sorted(accounts.items())
    ]
    if args.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
    else:
        for row in rows:
            print(*(f"{key}={value}" for key, value in row.items()))  # noqa: T201
    return 0 if all(account.balanced for account in accounts.values()) else 1

"""What a soak promised, held against the ledger and the output."""

from __future__ import annotations

from collections import Counter
from typing import Any

from broker_plugin.accounts.ledger import Account
from broker_plugin.demo.demo import total
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.settings.sections import Settings
from schemas.classification import Classification


def check(
    settings: Settings, accounts: dict[tuple[str, str, int], Account], num_sent: int, num_damaged: int, killed: bool
) -> dict[str, Any]:
    """What the ledger and the output say, and whether it is what was promised. killed: all died who were to."""
    values: dict[tuple[bytes, bytes], Counter[bytes]] = {}
    last: dict[bytes, Classification] = {}
    for message in read_topic(settings.output, settings.output.topic):
        headers: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]
        value = message.value() or b""
        values.setdefault((headers["log-partition"], headers["log-offset"]), Counter())[value] += 1
        last[message.key() or b""] = Classification.from_bytes(value)
    figures = {
        "sent": num_sent,
        "damaged": num_damaged,
        "stamped": total(accounts, "ingest", "stamped"),
        "dead_letters": total(accounts, "ingest", "dead_letter"),
        "gaps": sum(len(account.gaps) for account in accounts.values()),
        "duplicates_in_log": total(accounts, "classify", "duplicate"),
        "triggers": len(values),
        "triggers_of_two_values": sum(len(found) > 1 for found in values.values()),
        "records_repeated": sum(sum(found.values()) - 1 for found in values.values()),
        "objects": len(last),
        "frames_in_last_records": sum(record.num_frames for record in last.values()),
    }
    holds = (
        killed
        and figures["stamped"] + figures["dead_letters"] == num_sent
        and figures["dead_letters"] == num_damaged
        and figures["gaps"] == 0
        and figures["triggers"] == figures["stamped"]
        and figures["triggers_of_two_values"] == 0
        and figures["frames_in_last_records"] == figures["stamped"]
        and (not settings.classify.exactly_once or figures["records_repeated"] == 0)
    )
    return figures | {"holds": holds}

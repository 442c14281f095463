"""Writes ``docs/metrics.md``: every metric with its labels, from the metric classes.

python -m broker_plugin.telemetry.metrics_reference > docs/metrics.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry

from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
from broker_plugin.telemetry.metric_families import Family
from broker_plugin.telemetry.metrics import IngestMetrics
from schemas.surveys import SURVEYS

HEADER: Final = """\
# Metrics

Each role serves `/metrics`, `/healthz` and `/readyz` on `worker.metrics_host`, ingest on `worker.metrics_port` and
classify on the next one. Every series carries the label `role` and exists from the start at 0; none names an object.
Counters count work done, redeliveries included: what became of every alert is the ledger's to say
(`convention-broker ledger`).

* `/healthz` is 200 while the loop comes round, 503 once it did not for `worker.max_poll_interval_ms`: restart it.
* `/readyz` is 200 once partitions are assigned and stores are restored, 503 before and while it drains.

The process's own `process_*` and `python_gc_*` metrics are there too. `deploy/prometheus/` holds a scrape
configuration and the alert rules; `promtool test rules deploy/prometheus/alerts.test.yml` tests them. Written by
`python -m broker_plugin.telemetry.metrics_reference`.
"""
SUFFIXES: Final = {"histogram": ("_bucket", "_sum", "_count")}


def families() -> dict[str, tuple[Family, ...]]:
    """The families of each role."""
    ingest = IngestMetrics(CollectorRegistry(), surveys=[survey.name for survey in SURVEYS], version="")
    classify = ClassifyMetrics(CollectorRegistry(), version="")
    return {"ingest": ingest.families, "classify": classify.families}


def series_names() -> frozenset[str]:
    """Every name that Prometheus can ask for, histograms with their suffixes."""
    return frozenset(
        family.name + suffix
        for of_role in families().values()
        for family in of_role
        for suffix in SUFFIXES.get(family.kind, ("",))
    )


def markdown() -> str:
    """The page's text."""
    found = families()
    names = {role: {family.name for family in of_role} for role, of_role in found.items()}
    shared = names["ingest"] & names["classify"]
    sections = [
        ("Both roles", [family for family in found["ingest"] if family.name in shared]),
        ("ingest", [family for family in found["ingest"] if family.name not in shared]),
        ("classify", [family for family in found["classify"] if family.name not in shared]),
    ]
    return HEADER + "".join(_section(title, rows, found) for title, rows in sections)


def _section(title: str, rows: Iterable[Family], found: Mapping[str, tuple[Family, ...]]) -> str:
    lines = [f"\n## {title}\n", "| metric | type | labels | what it says |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.kind} | {_labels(row.name, found)} | {row.help} |" for row in rows]
    return "\n".join(lines) + "\n"


def _labels(name: str, found: Mapping[str, tuple[Family, ...]]) -> str:
    """Labels besides the role, each with the values that any role uses."""
    values: dict[str, dict[str, None]] = {}
    for of_role in found.values():
        for family in of_role:
            if family.name == name:
                for label, known in family.labels.items():
                    values.setdefault(label, {}).update(dict.fromkeys(known))
    values.pop("role")
    return "; ".join(f"`{label}`: {', '.join(known) or 'as it is'}" for label, known in values.items())


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201

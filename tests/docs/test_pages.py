"""Pages that are written from the code are current, and the runbook knows every alert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker_plugin.reference_pages import pages
from broker_plugin.settings.sections import Settings
from broker_plugin.telemetry.metrics_reference import series_names
from tests.docs.blocks import PAGES, ROOT

RUNBOOK = ROOT / "docs" / "runbook.md"


@pytest.mark.parametrize(("name", "text"), pages().items(), ids=lambda value: value if value.endswith(".md") else "")
def test_reference_pages_are_current(name: str, text: str) -> None:
    """docs/reference/ is what the code says; ``make docs`` writes it."""
    assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == text


def test_the_runbook_has_every_alert_and_no_other() -> None:
    """Each alert has a section that says what it means, what to check and what cures it."""
    alerts = re.findall(
        r"- alert: (\w+)", (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    )
    sections = re.split(r"^## ", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [section.split("\n", 1)[0] for section in sections] == alerts
    for section in sections:
        assert re.findall(r"^\*\*(Means|Check|Cure)\*\* ", section, re.MULTILINE) == ["Means", "Check", "Cure"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_on_the_pages_exist(page: Path) -> None:
    """Settings and metrics that a page names in code are there; so are the files it links to and names."""
    text = page.read_text(encoding="utf-8")
    for metric in set(re.findall(r"\bconvention_[a-z]+(?:_[a-z]+)+\b", text)):
        known = any(name == metric or name.startswith(f"{metric}_") for name in series_names())
        assert known or not metric.endswith(("_total", "_seconds", "_bytes", "_ratio", "_partitions")), metric
    sections = {name: type(getattr(Settings(), name)).model_fields for name in Settings.model_fields}
    for section, key in re.findall(r"`(input|internal|output|ingest|classify|worker|log)\.([a-z_]+)", text):
        assert key in sections[section], f"{section}.{key}"
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    for path in re.findall(r"`((?:deploy|tests|docs|train|schemas|model|broker_plugin)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path
    for name in re.findall(r"\bdocs/[\w/]+\.md\b", text):
        assert (ROOT / name).exists(), name

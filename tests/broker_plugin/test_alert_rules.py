"""Metrics, alert rules, dashboards and the page about metrics say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from broker_plugin.telemetry.metrics_reference import families, markdown, series_names

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
TESTS = PROMETHEUS / "alerts.test.yml"
METRIC = re.compile(r"\bconvention_[a-z_]+\b")
SELECTOR = re.compile(r"\b(convention_[a-z_]+)\{([^}]*)\}")


def deployed() -> list[Path]:
    """Every file that asks Prometheus for our series."""
    return sorted(path for path in (ROOT / "deploy").rglob("*") if path.suffix in (".yml", ".yaml", ".json"))


def test_the_page_is_current() -> None:
    """docs/metrics.md is what the metric classes say."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == markdown()


@pytest.mark.parametrize("path", deployed(), ids=lambda path: path.name)
def test_only_metrics_that_exist_are_asked_for(path: Path) -> None:
    """A rule or dashboard over a renamed metric would stay silent for ever."""
    asked = set(METRIC.findall(path.read_text(encoding="utf-8")))
    assert asked <= series_names(), asked - series_names()


def test_rules_select_label_values_that_exist() -> None:
    """A misspelt label or value in a selector would match nothing."""
    labels: dict[str, dict[str, set[str]]] = {}
    for of_role in families().values():
        for family in of_role:
            known = labels.setdefault(family.name, {})
            for label, values in family.labels.items():
                known.setdefault(label, set()).update(values)
    for name, selector in SELECTOR.findall(ALERTS.read_text(encoding="utf-8")):
        family = labels[name if name in labels else re.sub(r"_(bucket|sum|count)$", "", name)]
        for label, value in re.findall(r'(\w+)="([^"]*)"', selector):
            assert value in family[label], (name, label, value)


def test_every_alert_is_tested_both_ways() -> None:
    """Each rule has a unit test in which it fires, and those with a threshold one in which it does not."""
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    tests = TESTS.read_text(encoding="utf-8")
    fires = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", tests))
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", tests))
    assert len(names) == len(set(names)) >= 8
    assert fires == set(names)
    # with the CPU in CUDA's place a second worker is silent in the very test in which the first one fires
    assert set(names) - silent == {"ConventionCpuFallback"}


@pytest.mark.prometheus
def test_promtool_agrees() -> None:
    """The rules, their unit tests and the scrape configuration pass Prometheus's own tool."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    for arguments in (
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts.test.yml"),
    ):
        done = subprocess.run(
            ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

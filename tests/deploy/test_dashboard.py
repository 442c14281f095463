"""The Grafana dashboard shows what Prometheus has, and Grafana finds it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_plugin.telemetry.metrics_reference import families, series_names
from tests.deploy.containers import DEPLOY, compose, documents

GRAFANA = DEPLOY / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "convention.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
KINDS = {"timeseries", "stat", "table"}
# left out on purpose: the ledger's own counts, and durations that another panel tells
NOT_SHOWN = {
    "convention_ledger_offsets_total",
    "convention_ledger_absent_offsets_total",
    "convention_challenger_duration_seconds",
    "convention_restored_records_total",
    "convention_restoring_partitions",
}


def labels_by_family() -> dict[str, dict[str, set[str]]]:
    """Label values of each family, over both roles."""
    labels: dict[str, dict[str, set[str]]] = {}
    for of_role in families().values():
        for family in of_role:
            for label, values in family.labels.items():
                labels.setdefault(family.name, {}).setdefault(label, set()).update(values)
    return labels


def test_every_metric_is_shown_or_left_out_on_purpose() -> None:
    """A metric that is added later shows on the dashboard, or is named above; none that is gone is asked for."""
    asked = set(re.findall(r"\bconvention_[a-z_]+\b", " ".join(EXPRESSIONS)))
    assert asked <= series_names()
    shown = {name for name in labels_by_family() if any(a.startswith(name) for a in asked)}
    assert set(labels_by_family()) - shown == NOT_SHOWN


def test_selectors_and_groupings_use_labels_that_exist() -> None:
    """A misspelt label, or a value outside its closed set, would leave a panel empty."""
    labels = labels_by_family()
    for expression in EXPRESSIONS:
        for name, selector in re.findall(r"\b(convention_[a-z_]+)\{([^}]*)\}", expression):
            family = labels[name if name in labels else re.sub(r"_(bucket|sum|count)$", "", name)]
            for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
                assert set(value.split("|")) <= family[label], (expression, label)
        known = {"instance", "le"} | {label for found in labels.values() for label in found}
        for grouping in re.findall(r"\b(?:by|ignoring) \(?([a-z_, ]+)\)", expression):
            assert {label.strip() for label in grouping.split(",")} <= known, expression


@pytest.mark.prometheus
def test_every_expression_is_promql(tmp_path: Path) -> None:
    """Prometheus's own tool parses each panel's expression."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout


def test_panels_are_whole() -> None:
    """Ids are unique, kinds known, titles given, no two panels overlap, and all ask the provisioned data source."""
    (source,) = documents(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")[0]["datasources"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["type"] in KINDS
        assert panel["title"]
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_grafana_finds_the_dashboard_and_prometheus() -> None:
    """Provisioning names the folder that compose mounts, and the data source is compose's Prometheus."""
    service = compose()["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    (provider,) = documents(GRAFANA / "provisioning" / "dashboards" / "convention.yaml")[0]["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/convention.json"
    (source,) = documents(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")[0]["datasources"]
    host, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
    assert compose()["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]

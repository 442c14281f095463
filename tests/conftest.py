"""Fixtures every test may use, and the rule that a test which CI requires is never skipped.

``CONVENTION_REQUIRE=data,kafka,...`` names marks whose tests must run: a skip of one of them is a failure.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

ROOT: Final = Path(__file__).parents[1]
RESOURCE_MARKS: Final = ("data", "tansu", "kafka", "prometheus", "chromium", "spark", "gpu")
NO_MARK: Final = "(no mark)"
MARK_PROPERTY: Final = "resource_mark"

# Each test has a timeout already; a deadline an example fails on busy machines only.
settings.register_profile("convention", deadline=None)
settings.load_profile("convention")

_counts: dict[str, Counter[str]] = {}


def required_marks() -> set[str]:
    """Marks that the environment says must not be skipped; a misspelt one is an error."""
    required = {name.strip() for name in os.environ.get("CONVENTION_REQUIRE", "").split(",") if name.strip()}
    unknown = required - set(RESOURCE_MARKS)
    if unknown:
        raise pytest.UsageError(f"CONVENTION_REQUIRE: unknown {sorted(unknown)}; known: {RESOURCE_MARKS}")
    return required


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a misspelt requirement before any test runs."""
    required_marks()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a required test into a failure, and note its marks for the summary."""
    report = yield
    marks = {mark.name for mark in item.iter_markers()} & set(RESOURCE_MARKS)
    missing = marks & required_marks()
    if report.skipped and missing and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although CONVENTION_REQUIRE has {', '.join(sorted(missing))}: {report.longrepr}"
    report.user_properties += [(MARK_PROPERTY, mark) for mark in sorted(marks or {NO_MARK})]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count tests by mark, in the process that all reports reach."""
    if report.when == "call" or report.outcome != "passed":
        for mark in {str(value) for name, value in report.user_properties if name == MARK_PROPERTY}:
            _counts.setdefault(mark, Counter())[report.outcome] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests run and skipped, by mark."""
    if not _counts:
        return
    terminalreporter.section("tests by mark")
    for mark, counts in sorted(_counts.items()):
        run = counts["passed"] + counts["failed"]
        terminalreporter.write_line(
            f"{mark:<12} run {run:>5}   failed {counts['failed']:>4}   skipped {counts['skipped']:>4}"
        )


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """Folder of the sample alert packets (``CONVENTION_SAMPLE_DATA``, default ../shared/data); skips without it.

    Tests that use it carry the mark ``data``.
    """
    folder = Path(os.environ.get("CONVENTION_SAMPLE_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no sample alert packets in {folder}")
    return folder

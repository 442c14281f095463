"""The evaluate verb and its page, in headless Chromium."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_plugin.cli import main
from broker_plugin.evaluation.gallery import choose_objects
from broker_plugin.evaluation.record_files import open_rows, part_path
from broker_plugin.evaluation.report import render_report
from broker_plugin.evaluation.stamp_archive import load_sequences
from broker_plugin.evaluation.table import build_table
from broker_plugin.evaluation.truth import TruthTable
from tests.evaluation.stamps import write_stamps
from tests.evaluation.support import make_record, random_records

CHROMIUM, DRIVER = "chromium", "chromedriver"
SHOTS = os.environ.get("REPORT_SCREENSHOTS")


def write_archive(folder: Path, *, sharpness: float, stamps: bool) -> dict[str, str]:
    folder.mkdir()
    records, labels = random_records(90, 3, num_epochs=25, sharpness=sharpness, outside_every=9)
    with open_rows(part_path(folder, "records", 0, ".avro")) as writer:
        for record in records:
            writer.write(record.to_row())
    if stamps:
        write_stamps(folder, records)
    return labels


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``evaluate`` has run on a simulated archive with stamps and a challenger."""
    folder = tmp_path_factory.mktemp("evaluated")
    labels = write_archive(folder / "champion", sharpness=1.0, stamps=True)
    write_archive(folder / "challenger", sharpness=1.5, stamps=False)
    with (folder / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("object_id", "class"), *labels.items()])
    arguments = ["evaluate", str(folder / "champion"), "--truth", str(folder / "truth.csv")]
    arguments += ["--challenger", str(folder / "challenger"), "--output", str(folder / "out")]
    assert main([*arguments, "--resamples", "200", "--gallery", "8"]) == 0
    return folder


def test_evaluate_writes_json(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` prints what the file holds, and nothing else."""
    arguments = ["evaluate", str(evaluated / "champion"), "--truth", str(evaluated / "truth.csv"), "--json"]
    assert main([*arguments, "--output", str(evaluated / "again"), "--resamples", "50"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((evaluated / "again" / "evaluation.json").read_text())
    assert printed["comparison"] is None
    compared = json.loads((evaluated / "out" / "evaluation.json").read_text())["comparison"]
    assert compared["overall"]["metrics"]["log_loss"]["challenger_better"] > 0.9


def test_evaluate_errors_are_one_line(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing truth table or archive ends with status 1, a negative count with 2, each in one line."""
    truth = ["--truth", str(evaluated / "truth.csv")]
    for arguments, status in (
        ([str(evaluated / "absent"), *truth], 1),
        ([str(evaluated / "champion"), "--truth", "absent.csv"], 1),
        ([str(evaluated / "champion"), *truth, "--gallery", "-1"], 2),
    ):
        assert main(["evaluate", *arguments]) == status
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_gallery_rankings_by_hand() -> None:
    """With one place a ranking, the gallery holds the most wrong, the most uncertain and the earliest right."""
    said = {
        "wrong": [(0.97, 0.01, 0.01, 0.01)],
        "unsure": [(0.2, 0.3, 0.25, 0.25)],
        "early": [(0.1, 0.7, 0.1, 0.1), (0.0, 1.0, 0.0, 0.0)],
        "dull": [(0.9, 0.1, 0.0, 0.0), (0.1, 0.8, 0.05, 0.05)],
    }
    records = [
        make_record(name, row, num_frames=n + 1 if name == "early" else n + 3, last_mjd=60001.0 + n)
        for name, rows in said.items()
        for n, row in enumerate(rows)
    ]
    table = build_table(records, TruthTable(Path("t.csv"), dict.fromkeys(said, "SNIa"), 0))
    assert {entry["id"] for entry in choose_objects(table, 1)} == {"wrong", "unsure", "early"}
    by_id = {entry["id"]: entry for entry in choose_objects(table)}
    assert len(by_id) == 4
    assert [by_id[name]["stays_frames"] for name in said] == [None, 3, 1, 4]


def test_sequences_come_back_from_stamp_files(evaluated: Path) -> None:
    """A provider gives an object's frames in time order as they were stored, None for one that is not there."""
    provide = load_sequences(evaluated / "champion", [("ztf", "obj0001"), ("ztf", "absent")])
    sequence = provide("ztf", "obj0001")
    assert sequence is not None
    assert len(sequence) >= 3
    assert list(sequence.mjd_L) == sorted(sequence.mjd_L)
    assert (sequence.frames_per_band["g"], sequence.frames_per_band["u"]) == (len(sequence) // 2, 0)
    assert provide("ztf", "absent") is None
    assert provide("ztf", "obj0002") is None


def test_labels_cannot_break_out_of_the_page() -> None:
    """A label that looks like markup stays data."""
    page = render_report({"counts": {"outside_labels": ["</script><b>"]}}, None, [])
    assert page.count("</script>") == 2
    assert "\\u003c/script>" in page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium driven by Selenium, with the console's log."""
    if shutil.which(CHROMIUM) is None or shutil.which(DRIVER) is None:
        if "chromium" in os.environ.get("CONVENTION_REQUIRE", "").split(","):
            pytest.fail("chromium or chromedriver is missing")
        pytest.skip("chromium or chromedriver is not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which(CHROMIUM))
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which(DRIVER)))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def shoot(browser: Any, name: str) -> None:
    if SHOTS:
        browser.save_screenshot(str(Path(SHOTS) / f"{name}.png"))


def no_complaint(browser: Any) -> None:
    assert browser.get_log("browser") == []


def open_page(browser: Any, page: Path, width: int, height: int) -> None:
    browser.set_window_size(width, height)
    browser.get(page.as_uri())
    no_complaint(browser)


@pytest.mark.chromium
@pytest.mark.parametrize(("name", "width"), [("wide", 1400), ("narrow", 500)])
def test_the_page_opens_and_fits(evaluated: Path, browser: Any, name: str, width: int) -> None:
    """The report opens without a console message, needs no network, draws its plots and fits its window."""
    open_page(browser, evaluated / "out" / "report.html", width, 1000)
    overflow = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    assert browser.execute_script("return document.querySelectorAll('.plot svg').length") >= 9
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(width, min(height + 100, 6000))
    shoot(browser, f"report-{name}")
    no_complaint(browser)


@pytest.mark.chromium
def test_offline_records_show_no_latency(evaluated: Path, browser: Any, tmp_path: Path) -> None:
    """Where records have no time of ingest the page gives their throughput, and says why it gives no latency."""
    evaluation = json.loads((evaluated / "out" / "evaluation.json").read_text())
    read = "return document.getElementById('timing').innerText"
    open_page(browser, evaluated / "out" / "report.html", 1400, 1000)
    assert "ingest to publish" in browser.execute_script(read)
    evaluation["timing"] |= {"latency_s": None}
    page = tmp_path / "report.html"
    page.write_text(render_report(evaluation, None, []), encoding="utf-8")
    open_page(browser, page, 1400, 1000)
    text = browser.execute_script(read)
    assert "ingest to publish" not in text
    assert "no latency is given" in text
    assert "a second" in text


@pytest.mark.chromium
def test_plots_answer(evaluated: Path, browser: Any) -> None:
    """Every metric can be drawn against every axis, a slice can be opened, a legend hides its line."""
    open_page(browser, evaluated / "out" / "report.html", 1400, 1000)
    drawn = browser.execute_script(
        """let drawn = 0;
        for (const axis of document.querySelectorAll('#against-controls .choice button')) {
          axis.click();
          const metric = document.querySelector('#against-controls select');
          for (const option of metric.options) {
            metric.value = option.value; metric.dispatchEvent(new Event('change'));
            drawn += document.querySelectorAll('#against-plot svg circle').length > 1;
          }
        }
        return drawn;"""
    )
    assert drawn == 4 * 12
    names = browser.execute_script(
        """const select = document.getElementById('slice-select'), names = new Set();
        for (const option of select.options) { select.value = option.value; select.dispatchEvent(new Event('change'));
          names.add(document.getElementById('slice-name').textContent); }
        return [names.size, select.options.length];"""
    )
    assert names[0] == names[1] > 10
    lines = "return document.querySelectorAll('#early-plot polyline').length"
    before = browser.execute_script(lines)
    browser.execute_script("document.querySelector('#early-plot .legend button').click()")
    assert browser.execute_script(lines) == before - 2
    browser.execute_script("document.querySelector('#early-controls [data-value=days]').click()")
    assert browser.execute_script(lines) == before
    no_complaint(browser)


@pytest.mark.chromium
@pytest.mark.parametrize(("name", "width"), [("wide", 1400), ("narrow", 500)])
def test_clicking_through_the_gallery(evaluated: Path, browser: Any, name: str, width: int) -> None:
    """In every order a click on a card opens that object's picture, light curve and probabilities; arrows go on."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, evaluated / "out" / "report.html", width, 1000)
    seen = set()
    for ranking in ("wrong", "uncertain", "early"):
        button = browser.find_element(By.CSS_SELECTOR, f"#gallery-controls [data-value={ranking}]")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
        button.click()
        cards = browser.find_elements(By.CSS_SELECTOR, ".card")
        seen.add(tuple(card.get_attribute("data-id") for card in cards))
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", cards[1])
        cards[1].click()
        assert browser.find_element(By.ID, "viewer-title").text == cards[1].get_attribute("data-id")
        loaded = (
            "const i = document.querySelector('#viewer-stamps img'); return i.complete && i.naturalHeight === 160"
        )
        assert browser.execute_script(loaded)
        assert browser.find_elements(By.CSS_SELECTOR, "#viewer-curve circle")
        assert len(browser.find_elements(By.CSS_SELECTOR, "#viewer-probabilities polyline")) == 4
        film = browser.find_element(By.CSS_SELECTOR, ".film")
        ActionChains(browser).move_to_element(film).perform()
        assert browser.execute_script("return document.querySelector('.mark').style.display") == "block"
        shoot(browser, f"viewer-{name}-{ranking}")
        browser.find_element(By.CSS_SELECTOR, "#viewer-controls [data-value=difference]").click()
        ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
        assert browser.find_element(By.ID, "viewer-title").text == cards[2].get_attribute("data-id")
        browser.find_element(By.ID, "close").click()
        browser.execute_script("gallery.plane = 'science'")
        assert not browser.execute_script("return document.getElementById('viewer').open")
    assert len(seen) == 3
    no_complaint(browser)

"""What the pages tell a reader to type works."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from broker_plugin.cli import VERBS, parser_of
from broker_plugin.kafka.embedded_broker import HEARTBEAT_INTERVAL_MS, SESSION_TIMEOUT_MS, embedded_broker
from tests.docs.blocks import LANGUAGES, PAGES, ROOT, Block, blocks_of, command_lines, needs_of

MARKS = {"data": pytest.mark.data, "tansu": pytest.mark.tansu}
BLOCK_TIMEOUT_S = 120
RUN = [page for page in PAGES if any(block.reason is None for block in blocks_of(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    """Each fenced block has a known language; what is not run has a reason of more than a word."""
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * sum(not block.is_setup for block in blocks)
    for block in blocks:
        assert block.language in LANGUAGES, block.name
        assert block.reason is None or len(block.reason.split()) > 2, block.name
    assert needs_of(page) <= set(MARKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_parses(page: Path) -> None:
    """Calls of our program, run or not, have a verb and arguments that exist."""
    for number, line in command_lines(page):
        words = shlex.split(re.sub(r"\s(&|\||>|2>).*$", "", line), comments=True)
        words = words[words.index("convention-broker") + 1 :]
        if words[0].startswith("-") or words[0] == "VERB":
            continue
        assert words[0] in VERBS, f"{page}:{number}"
        if "--help" in words:
            continue
        try:
            parser_of(words[0]).parse_args([word.removesuffix("...") for word in words[1:]])
        except SystemExit as error:
            raise AssertionError(f"{page}:{number}: {line}") from error


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=[MARKS[need] for need in sorted(needs_of(page))]) for page in RUN]
)
def test_blocks_run(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The page's blocks, one after the other in one folder and one environment, each end with status 0."""
    with ExitStack() as stack:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONVENTION_")}
        environment |= {"PATH": f"{program(tmp_path)}:{environment['PATH']}", "PYTHONPATH": str(ROOT)}
        environment |= {"OMP_NUM_THREADS": "1", "ROOT": str(ROOT)}
        if "data" in needs_of(page):
            environment["SAMPLES"] = str(request.getfixturevalue("sample_data"))
        if "tansu" in needs_of(page):
            environment |= broker_settings(stack.enter_context(embedded_broker()))
        folder = tmp_path / "folder"
        folder.mkdir()
        for block in blocks_of(page):
            if block.reason is None and block.language != "text":
                run_block(block, folder, environment, stack)


def program(tmp_path: Path) -> Path:
    """A folder with ``convention-broker``, from this source tree."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in (("convention-broker", "-m broker_plugin"), ("python", ""), ("python3", "")):
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n', encoding="utf-8")
        file.chmod(0o755)
    return folder


def broker_settings(address: str) -> dict[str, str]:
    """Settings under which the pages' commands use the embedded broker in Kafka's place."""
    connections = {f"CONVENTION_{c}__BOOTSTRAP_SERVERS": address for c in ("INPUT", "INTERNAL", "OUTPUT")}
    return connections | {
        "CONVENTION_WORKER__SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
        "CONVENTION_WORKER__METRICS_PORT": "0",
        "CONVENTION_WORKER__HEARTBEAT_INTERVAL_MS": str(HEARTBEAT_INTERVAL_MS),
    }


def run_block(block: Block, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
    """Run one block; a shell block's exported variables stay for the next ones."""
    if block.language == "toml":
        tomllib.loads(block.code)
        return
    if block.background:
        stack.enter_context(running(block, folder, environment))
        return
    command = [sys.executable, "-W", "error", "-c", block.code]
    if block.language == "sh":
        kept = folder.parent / "environment"
        code = f"set -euo pipefail\n[ ! -e {kept} ] || . {kept}\n{block.code}\nexport -p > {kept}\n"
        command = ["bash", "-c", code]
    log = folder.parent / f"block-{block.line}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(timeout=BLOCK_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert status == 0, f"{block.name} ended with {status}\n{block.code}\n{log.read_text()[-4000:]}"


@contextmanager
def running(block: Block, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A block in the background, told to stop at the end, which it must do with status 0."""
    log = folder.parent / f"background-{block.line}.log"
    kept = folder.parent / "environment"
    code = f"set -eu\n[ ! -e {kept} ] || . {kept}\nexec {block.code.strip()}\n"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", code], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
            assert process.poll() is None, f"{block.name} ended by itself\n{log.read_text()[-4000:]}"
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
        assert status == 0, f"{block.name}\n{log.read_text()[-4000:]}"

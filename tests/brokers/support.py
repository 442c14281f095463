"""What the broker tests share: a worker or one role on fresh topics, and what came out of it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from broker_plugin.accounts.ledger import Account
from broker_plugin.demo.demo import follow_ledger, read_accounts, send, worker_flags
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.settings.sections import Settings
from broker_plugin.settings.sources import load_settings
from broker_plugin.testing.processes import python_process, worker_process
from broker_plugin.worker.points import Point

Accounts = dict[tuple[str, str, int], Account]
ROOT = Path(__file__).parents[2]


def overridden(flags: Sequence[str], extra: Sequence[str]) -> list[str]:
    """``flags``, with those of ``extra`` in the place of the same key."""
    given = {flag.partition("=")[0]: flag for flag in (*flags, *extra)}
    return list(given.values())


class Run:
    """One worker on fresh topics of a broker."""

    def __init__(self, address: str, folder: Path, *extra: str) -> None:
        self.flags = overridden(worker_flags(address, folder, embedded=True), extra)
        self.settings: Settings = load_settings(flags=self.flags)
        self.log = folder / "worker.log"

    def changed(self, *extra: str) -> Run:
        """The same topics and folder under other settings."""
        other = Run.__new__(Run)
        other.flags = overridden(self.flags, extra)
        other.settings = load_settings(flags=other.flags)
        other.log = self.log
        return other

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Both roles, stopped by SIGTERM at the end."""
        with worker_process(self.flags, self.log) as process:
            yield process

    @contextmanager
    def role(
        self, role: str, *, dies_at: Point | None = None, number: int = 1, by: signal.Signals = signal.SIGKILL
    ) -> Iterator[subprocess.Popen[bytes]]:
        """One role, stopped by SIGTERM at the end; ``by`` meets it at its ``number``-th pass of a point."""
        asked = {"flags": self.flags, "role": role, "point": dies_at, "number": number, "signal": by.name}
        with python_process("-m", "tests.brokers.dying_role", json.dumps(asked), log=self.log, cwd=ROOT) as process:
            yield process

    @contextmanager
    def failing_classify(self, *, num_calls: int, hangs: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """The classify role with an ensemble that fails, or hangs, after so many calls."""
        asked = {"flags": self.flags, "num_calls": num_calls, "hangs": hangs}
        with python_process("-m", "tests.brokers.failing_role", json.dumps(asked), log=self.log, cwd=ROOT) as process:
            yield process

    def await_log(self, text: str, *, timeout_s: float = 60.0) -> None:
        """Until the processes' output has the text."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.1)

    def follow(self, worker: subprocess.Popen[bytes], num_packets: int) -> Accounts:
        """Until every packet and stamp has an outcome."""
        return follow_ledger(self.settings, worker, num_packets, Console(quiet=True))

    def await_accounts(
        self, process: subprocess.Popen[bytes], done: Callable[[Accounts], bool], *, timeout_s: float = 90.0
    ) -> Accounts:
        """Until the ledger says so."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert process.poll() is None, self.log.read_text()[-4000:]
            accounts = read_accounts(self.settings)
            if done(accounts):
                return accounts
            time.sleep(0.2)
        raise AssertionError(f"not done in {timeout_s} s: {self.log.read_text()[-4000:]}")

    def last_values(self, topic: str | None = None) -> dict[bytes, bytes]:
        """Key -> value of the last record of each object."""
        output = self.settings.output
        return {m.key() or b"": m.value() or b"" for m in read_topic(output, topic or output.topic)}

    def values_by_trigger(self, topic: str | None = None) -> dict[tuple[int, int], list[bytes]]:
        """(log partition, log offset) -> the values published for it."""
        output = self.settings.output
        values: dict[tuple[int, int], list[bytes]] = {}
        for message in read_topic(output, topic or output.topic):
            headers: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]
            place = (int(headers["log-partition"]), int(headers["log-offset"]))
            values.setdefault(place, []).append(message.value() or b"")
        return values


def run_all(address: str, folder: Path, packets: Sequence[bytes]) -> tuple[Run, Accounts]:
    """All packets through a fresh worker."""
    folder.mkdir()
    run = Run(address, folder)
    with run.worker() as worker:
        send(run.settings, packets)
        accounts = run.follow(worker, len(packets))
    assert worker.returncode == 0, run.log.read_text()
    return run, accounts

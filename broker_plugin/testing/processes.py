"""Python processes of tests and benchmarks, stopped by SIGTERM when their block ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

STOP_S: Final = 60.0


@contextmanager
def python_process(*arguments: str, log: Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """``python ARGUMENTS`` in a session of its own, both outputs appended to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=output, cwd=cwd, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_S)


@contextmanager
def worker_process(flags: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``convention-broker worker``, both roles, with settings overrides ``section.key=value``."""
    overrides = (f"--set={flag}" for flag in flags)
    with python_process("-m", "broker_plugin", "worker", *overrides, log=log) as process:
        yield process

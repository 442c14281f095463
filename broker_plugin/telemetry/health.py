"""One small HTTP server a process: ``/metrics``, ``/healthz`` and ``/readyz``.

* ``/healthz`` is 200 while the loop makes progress, 503 once it made none for ``max_silence_s``: restart me.
* ``/readyz`` is 200 once every condition it waits for holds (partitions assigned, stores restored), 503 before, and
  again while draining: do not count on me yet.

Both answer with one line of JSON that says what is the matter.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from schemas.errors import SettingsError

ASSIGNED: Final = "assigned"
RESTORED: Final = "restored"
# a scraper that connects and then says nothing must not hold a thread for ever
REQUEST_TIMEOUT_S: Final = 10.0


class Health:
    """What the loop says of itself; every method may be called from any thread.

    waits_for: the conditions of readiness, all unmet at first. max_silence_s: seconds without progress after which
    the process counts as hung; the time before the first progress counts too. now: a monotonic clock, s.
    """

    def __init__(
        self,
        *,
        max_silence_s: float,
        waits_for: Sequence[str] = (ASSIGNED,),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._max_silence_s = max_silence_s
        # reentrant: a signal handler calls drain in the middle of whatever the main thread does
        self._lock = threading.RLock()
        self._conditions = dict.fromkeys(waits_for, False)
        self._draining = False
        self._progress = now()

    def progressed(self) -> None:
        """The loop came round: call it on every turn, idle ones included."""
        with self._lock:
            self._progress = self._now()

    def set(self, condition: str, met: bool) -> None:
        """A condition of readiness is met or no longer met. KeyError for one that is not waited for."""
        with self._lock:
            if condition not in self._conditions:
                raise KeyError(condition)
            self._conditions[condition] = met

    def drain(self) -> None:
        """The process is stopping: no longer ready, for good."""
        with self._lock:
            self._draining = True

    @property
    def silence_s(self) -> float:
        """Seconds since the last progress."""
        with self._lock:
            return self._now() - self._progress

    @property
    def healthy(self) -> bool:
        """Whether the loop made progress of late."""
        return self.silence_s <= self._max_silence_s

    @property
    def missing(self) -> tuple[str, ...]:
        """What readiness waits for; ``draining`` while stopping."""
        with self._lock:
            unmet = tuple(name for name, met in self._conditions.items() if not met)
            return (*unmet, "draining") if self._draining else unmet

    @property
    def ready(self) -> bool:
        """Whether every condition is met, the loop makes progress, and the process is not stopping."""
        return self.healthy and not self.missing


class HealthServer:
    """Serves a registry and a Health from a daemon thread until closed; a context manager.

    port 0 takes a free one, which ``port`` then tells. SettingsError when the address cannot be bound.
    """

    def __init__(
        self, registry: CollectorRegistry, health: Health, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        class Handler(_Handler):
            pages = _Pages(registry, health)

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise SettingsError(f"worker.metrics_port: cannot listen on {host}:{port}: {error.strerror}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port bound."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering and release the port; a second call does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Pages:
    """Path -> (status, content type, body)."""

    def __init__(self, registry: CollectorRegistry, health: Health) -> None:
        self._registry = registry
        self._health = health

    def page(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        health = self._health
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encode(self._registry)
        if path == "/healthz":
            return _answer(health.healthy, {"healthy": health.healthy, "silence_s": round(health.silence_s, 3)})
        if path == "/readyz":
            return _answer(
                health.ready, {"ready": health.ready, "healthy": health.healthy, "waits_for": health.missing}
            )
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"try /metrics, /healthz or /readyz\n"


def _answer(good: bool, state: dict[str, object]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps(state).encode() + b"\n"


class _Handler(BaseHTTPRequestHandler):
    pages: _Pages
    timeout = REQUEST_TIMEOUT_S
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, content_type, body = self.pages.page(path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a scrape every few seconds is not worth a line."""

"""A small schema registry that speaks the Confluent API over HTTP, for tests: it can be down, know late, refuse."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from broker_plugin.kafka.embedded_broker import free_port

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryServer:
    """Schemas by id, registrations by subject. ``requests`` holds (method, path) of everything asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuses = False
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Answer on the port, the same one each time."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.registry = self  # type: ignore[attr-defined]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def add(self, schema_id: int, schema: Any, **more: Any) -> None:
        """Know a schema; ``more`` goes into the answer (schemaType, references)."""
        self.schemas[schema_id] = {"schema": schema if isinstance(schema, str) else json.dumps(schema), **more}

    def register(self, subject: str, body: dict[str, Any]) -> int:
        """The id of a schema: the one it has already, or the next."""
        entry = {key: body[key] for key in ("schema",)}
        known = [number for number, found in self.schemas.items() if found["schema"] == entry["schema"]]
        schema_id = known[0] if known else max(self.schemas, default=0) + 1
        self.schemas[schema_id] = entry
        self.subjects.setdefault(subject, []).append(schema_id)
        return schema_id


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        registry = self._seen()
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts[:2] == ["schemas", "ids"] and int(parts[2]) in registry.schemas:
            self._answer(200, registry.schemas[int(parts[2])])
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def do_POST(self) -> None:
        registry = self._seen()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = urlsplit(self.path).path.strip("/").split("/")
        if registry.refuses:
            self._answer(409, {"error_code": 409, "message": "Schema being registered is incompatible"})
        elif parts[0] == "subjects" and parts[2:] == ["versions"]:
            self._answer(200, {"id": registry.register(parts[1], body)})
        else:
            self._answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})

    def _seen(self) -> RegistryServer:
        registry: RegistryServer = self.server.registry  # type: ignore[attr-defined]
        registry.requests.append((self.command, self.path))
        return registry

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@contextmanager
def registry_server() -> Iterator[RegistryServer]:
    """A registry that is up."""
    server = RegistryServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()

"""An S3-compatible store on this machine: moto's server, and a proxy before it that lets requests fail."""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from esd.store_paths import ObjectPath, place_of, s3_store

BUCKET = "cubes"
NEEDED = ("obstore", "moto", "flask", "flask_cors", "boto3")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_s3 = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} for an S3 store: install '.[test]'")
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_TIMEOUT": "2s",
}
STALL = 3.0
"""Seconds that a stalled request takes: longer than AWS_TIMEOUT."""
Fault = Callable[[str, int], str]
"""Tells of the n-th request, by its method, what happens: "", or one of KINDS."""
KINDS = ("error", "error after", "drop", "drop after", "cut", "stall")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Run moto's server with one empty bucket, and let this process and its children find it; give its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            for _ in range(600):
                try:
                    request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
                    urllib.request.urlopen(request, timeout=10).close()
                    break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    time.sleep(0.1)
            with pytest.MonkeyPatch.context() as patch:
                for name, value in {**SETTINGS, "AWS_ENDPOINT_URL": address}.items():
                    patch.setenv(name, value)
                s3_store.cache_clear()
                yield address
                s3_store.cache_clear()
        finally:
            server.kill()


def address_of(name: str) -> ObjectPath:
    found = place_of(f"s3://{BUCKET}/some/where/{name}")
    assert isinstance(found, ObjectPath)
    return found


class FaultyProxy:
    """Forwards requests to a server, but for those that `fault` lets fail."""

    def __init__(self, behind: str, fault: Fault) -> None:
        self.behind, self.fault = behind.removeprefix("http://"), fault
        self.happened: Counter[str] = Counter()
        self._count, self._lock = 0, threading.Lock()

    def next_fault(self, method: str) -> str:
        with self._lock:
            kind = self.fault(method, self._count)
            self._count += 1
            self.happened[kind] += 1
            return kind

    @contextmanager
    def running(self) -> Iterator[str]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = proxy.next_fault(self.command)
                if kind == "stall":
                    time.sleep(STALL)
                    kind = "drop"
                status, headers, data = 500, {}, b"<Error><Code>InternalError</Code></Error>"
                if kind in ("", "error after", "drop after", "cut"):
                    told = proxy.forward(self.command, self.path, dict(self.headers), body)
                    status, headers, data = told if kind in ("", "cut") else (status, headers, data)
                if kind.startswith("drop"):
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if kind == "cut" else data)
                if kind == "cut":
                    self.close_connection = True

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
                """Say nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()


def random_faults(rng: np.random.Generator, share: float, *kinds: str) -> Fault:
    """Let a share of the requests fail, in one of the ways."""
    return lambda _method, _number: str(rng.choice(kinds)) if rng.random() < share else ""


def outage(first: int, kind: str) -> Fault:
    """Let everything fail from a request on."""
    return lambda _method, number: kind if number >= first else ""


def objects_of(place: ObjectPath) -> dict[str, bytes]:
    """All objects of a store."""
    return {file.key[len(place.key) + 1 :]: file.read_bytes() for file, _ in place.below()}


def pointed_at(address: str) -> None:
    """Let this process, a child, ask another address."""
    os.environ["AWS_ENDPOINT_URL"] = address

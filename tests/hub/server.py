"""A hub on loopback: as much of the Hugging Face protocol as the fetch steps use, and its faults.

Repositories are folders. Weights and Parquet files are served as large files: the resolve address
answers with a redirect and the linked hash, as the real hub does; everything else directly.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet")


@dataclass
class Repository:
    """One repository; its commit follows from its content."""

    kind: str
    name: str
    folder: Path
    commit: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.commit:
            listing = "".join(f"{path} {self.blob(path)}\n" for path in self.paths())
            self.commit = hashlib.sha1(listing.encode()).hexdigest()

    def paths(self) -> list[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in files)

    def blob(self, path: str) -> str:
        content = (self.folder / path).read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def sha256(self, path: str) -> str:
        return hashlib.sha256((self.folder / path).read_bytes()).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        size = (self.folder / path).stat().st_size
        entry: dict[str, Any] = {
            "type": "file",
            "oid": self.blob(path),
            "size": size,
            "path": path,
        }
        if path.endswith(LARGE):
            entry["lfs"] = {"oid": self.sha256(path), "size": size, "pointerSize": 134}
        return entry

    def knows(self, revision: str) -> bool:
        return revision in ("main", self.commit, *self.aliases)


@dataclass
class Faults:
    """What goes wrong, by path in the repository; counts are decremented as they happen."""

    # (bytes sent before the connection is cut, how often, whether it is reset or closed)
    cut: dict[str, list[Any]] = field(default_factory=dict)
    # How often a status is answered instead of the content.
    status: dict[str, list[int]] = field(default_factory=dict)
    # How often the content has one byte changed.
    corrupt: dict[str, int] = field(default_factory=dict)


class HubServer(ThreadingHTTPServer):
    """The server: repositories, faults, and every request it saw."""

    daemon_threads = True

    def __init__(self, repositories: list[Repository]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {(entry.kind, entry.name): entry for entry in repositories}
        self.faults = Faults()
        self.requests: list[tuple[str, str, str | None]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away: the cut connections of the tests are that."""

    def downloads(self, path: str) -> list[str | None]:
        """Return the Range header of every GET of a file's content."""
        return [
            span
            for method, seen, span in self.requests
            if method == "GET" and seen.endswith(path) and not seen.startswith("/api/")
        ]


@contextmanager
def serve(repositories: list[Repository]) -> Iterator[HubServer]:
    """Serve repositories on a free port of loopback for the body of the `with`."""
    server = HubServer(repositories)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test output clean."""

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:
            self.server.requests.append((self.command, path, self.headers.get("Range")))
        if match := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(*match.groups())
        elif match := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            self._tree(*match.groups())
        elif match := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            prefix, name, revision, file = match.groups()
            self._resolve("dataset" if prefix else "model", name, revision, file)
        elif match := re.fullmatch(r"/content/(model|dataset)/([^/]+/[^/]+)/(.+)", path):
            self._content(*match.groups())
        else:
            self._fail(404, "NotFound")

    def _find(self, kind: str, name: str, revision: str | None) -> Repository | None:
        repository = self.server.repositories.get((kind, name))
        if repository is None:
            # The hub answers 401 to strangers, so as not to tell what exists.
            self._fail(401, "RepoNotFound")
            return None
        if not repository.knows(revision or "main"):
            self._fail(404, "RevisionNotFound")
            return None
        return repository

    def _info(self, kind: str, name: str, revision: str | None) -> None:
        if repository := self._find(kind, name, revision):
            siblings = [{"rfilename": path} for path in repository.paths()]
            self._json({"id": name, "sha": repository.commit, "siblings": siblings, "tags": []})

    def _tree(self, kind: str, name: str, revision: str) -> None:
        if repository := self._find(kind, name, revision):
            folders = {
                parent.as_posix()
                for path in repository.paths()
                for parent in Path(path).parents
                if parent != Path()
            }
            entries = [
                {"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in folders
            ]
            self._json(entries + [repository.entry(path) for path in repository.paths()])

    def _resolve(self, kind: str, name: str, revision: str, file: str) -> None:
        repository = self._find(kind, name, revision)
        if repository is None:
            return
        if file not in repository.paths():
            self._fail(404, "EntryNotFound")
            return
        if not file.endswith(LARGE):
            etag = repository.blob(file)
            self._send_file(repository, file, {"ETag": f'"{etag}"'})
            return
        size = (repository.folder / file).stat().st_size
        self._answer(
            302,
            b"",
            {
                "Location": f"{self.server.url}/content/{kind}/{name}/{file}",
                "X-Repo-Commit": repository.commit,
                "X-Linked-Etag": f'"{repository.sha256(file)}"',
                "X-Linked-Size": str(size),
            },
        )

    def _content(self, kind: str, name: str, file: str) -> None:
        repository = self.server.repositories[kind, name]
        self._send_file(repository, file, {"ETag": f'"{repository.sha256(file)}"'})

    def _send_file(self, repository: Repository, file: str, headers: dict[str, str]) -> None:
        body = (repository.folder / file).read_bytes()
        faults = self.server.faults
        if self.command == "GET":
            if faults.status.get(file):
                self._fail(faults.status[file].pop(0), "Fault")
                return
            if faults.corrupt.get(file, 0) > 0:
                faults.corrupt[file] -= 1
                body = bytes([body[0] ^ 0xFF]) + body[1:]
        headers |= {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        status, total, start = 200, len(body), 0
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            start = int(match[1])
            status, body = 206, body[start:]
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self._answer(status, body, headers, cut=self._cut(file) if self.command == "GET" else None)

    def _cut(self, file: str) -> tuple[int, bool] | None:
        cut = self.server.faults.cut.get(file)
        if not cut or cut[1] <= 0:
            return None
        cut[1] -= 1
        return cut[0], cut[2]

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self._answer(200, body, {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        self._answer(status, json.dumps({"error": code}).encode(), headers)

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        cut: tuple[int, bool] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is None:
            self.wfile.write(body)
            return
        sent, reset = cut
        self.wfile.write(body[:sent])
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        self.connection.close()

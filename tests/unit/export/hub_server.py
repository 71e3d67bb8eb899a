"""The calls of the Hugging Face hub that a publication makes, spoken by a server on this machine."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Hub:
    """A hub with one dataset: its files by path, and what was asked for.

    Args:
        token: The only one that may write.
    """

    def __init__(self, token: str) -> None:
        self.files: dict[str, str] = {}  # path -> kind of what was committed
        self.objects: dict[str, bytes] = {}
        self.created: dict[str, Any] = {}
        self.messages: list[str] = []
        self._sizes: dict[str, int] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = urlsplit(self.path).path
                allowed = path.startswith("/objects/") or self.headers.get("Authorization") == f"Bearer {token}"
                status, answer = hub.answer(self.command, path, body) if allowed else (401, {"error": "no"})
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _do

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of one call."""
        if method == "PUT":
            self.objects[path.removeprefix("/objects/")] = body
            return 200, {}
        if "/tree/" in path:
            return 200, [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.files]
        if path.endswith("/commit/main"):
            return self._commit([json.loads(line) for line in body.splitlines()])
        asked = json.loads(body) if body else {}
        if path == "/api/repos/create":
            self.created = asked
            return 200, {"url": f"{self.url}/datasets/{asked['organization']}/{asked['name']}"}
        if path == "/api/validate-yaml":
            assert asked["content"].startswith("---\n")
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            modes = [
                (file["path"], "lfs" if file["path"].endswith(".parquet") else "regular") for file in asked["files"]
            ]
            return 200, {"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes]}
        if path.endswith("/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.url}/objects/{one['oid']}"}}} for one in asked["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        return 404, {"error": f"{method} {path}"}

    def _commit(self, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            kind, value = line["key"], line["value"]
            if kind == "header":
                self.messages.append(value["summary"])
            elif kind == "deletedFile":
                del self.files[value["path"]]
            else:
                self.files[value["path"]] = kind
        return 200, {"commitUrl": f"{self.url}/datasets/me/birds/commit/1", "commitOid": "1" * 40}

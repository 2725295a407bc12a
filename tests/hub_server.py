"""A stand-in for the Hugging Face Hub: as much of its HTTP API as pushing and fetching a model needs, in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_writes"  # of the one user that there is


class Hub:
    """The server, while it is entered.

    Attributes:
        repos: Of each repository, whether it is private, and its commits: each an id, and files by name.
        large: Files that are kept apart from the commits, by digest.
    """

    def __init__(self) -> None:
        self.repos: dict[str, tuple[bool, list[tuple[str, dict[str, bytes]]]]] = {}
        self.large: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def handle_any(self) -> None:
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        self.body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                hub.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - names of http.server

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Hub:
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: Any) -> None:
        may_write = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        path = request.path.partition("?")[0]
        if path == "/api/validate-yaml":
            return self.send(request, {"errors": [], "warnings": []})
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.send_file(request, *match.groups(), may_read=may_write)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            return self.refuse(request, 401, "RepoNotFound")
        if path.startswith("/large/"):  # an address that a batch has given says itself who may write to it
            return self.put_large(request)
        if not may_write:
            return self.refuse(request, 403, "")
        if path == "/api/repos/create":
            wanted = json.loads(request.body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in self.repos:
                return self.send(request, {"url": f"{self.url}/{name}"}, status=409)
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.repos[name] = (private, [])
            return self.send(request, {"url": f"{self.url}/{name}"})
        if re.fullmatch(r"/api/models/[^/]+/[^/]+/preupload/main", path):
            kinds = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(request.body)["files"]
            ]
            return self.send(request, {"files": kinds})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                each | {"actions": {"upload": {"href": f"{self.url}/large/{each['oid']}"}}}
                for each in json.loads(request.body)["objects"]
            ]
            return self.send(request, {"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            return self.commit(request, match[1])
        return self.refuse(request, 404, "")

    def put_large(self, request: Any) -> None:
        self.large[hashlib.sha256(request.body).hexdigest()] = request.body
        self.send(request, {})

    def commit(self, request: Any, name: str) -> None:
        _, commits = self.repos[name]
        files = dict(commits[-1][1]) if commits else {}
        for line in request.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
        number = hashlib.sha1(request.body).hexdigest()
        commits.append((number, files))
        self.send(request, {"commitUrl": f"{self.url}/{name}/commit/{number}", "commitOid": number})

    def send_file(self, request: Any, name: str, revision: str, file: str, *, may_read: bool) -> None:
        private, commits = self.repos.get(name, (True, []))
        if name not in self.repos or (private and not may_read):
            return self.refuse(request, 401, "RepoNotFound")
        found = [each for each in commits if revision in (each[0], "main")]
        if not found:
            return self.refuse(request, 404, "RevisionNotFound")
        number, files = found[-1]
        if file not in files:
            return self.refuse(request, 404, "EntryNotFound")
        headers = {"X-Repo-Commit": number, "ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"'}
        return self.send(request, files[file], headers)

    def refuse(self, request: Any, status: int, code: str) -> None:
        self.send(request, {"error": code or "no"}, {"X-Error-Code": code} if code else {}, status)

    def send(self, request: Any, content: Any, headers: dict[str, str] | None = None, status: int = 200) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

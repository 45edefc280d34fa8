"""A Hub on the loopback interface: the part of its protocol that publishing and loading need, kept in memory.

It speaks what `huggingface_hub` sends for models and datasets with the Xet transfer switched off: creating a
repository, the three steps of an upload (preupload, LFS objects, commit), the listing calls, and downloads. Every
request is recorded, so that a test can also show that none was made.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


USER = "tester"
ORGANISATION = "lab"
WRITE_TOKEN = "hf_write"
READ_TOKEN = "hf_read"
ROLES = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
LFS_SUFFIXES = {".safetensors", ".parquet", ".bin", ".png"}
API = re.compile(r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)(?:/(?P<verb>\w+)/(?P<revision>[^/]+))?")
RESOLVE = re.compile(r"/(?P<kind>datasets/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
LFS_BATCH = re.compile(r"/(?:datasets/)?[^/]+/[^/]+\.git/info/lfs/objects/batch")


class Refused(Exception):
    """An answer other than 200: the status and, as the Hub sends it, the code in `X-Error-Code`."""

    def __init__(self, status: HTTPStatus, code: str, message: str, commit: str = ""):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Code": code, "X-Error-Message": message}
        if commit:
            self.headers["X-Repo-Commit"] = commit


def is_lfs(path: str) -> bool:
    """Whether a file goes through the LFS store, by its suffix as `.gitattributes` says it on the Hub."""
    return Path(path).suffix in LFS_SUFFIXES


def oid(path: str, content: bytes) -> str:
    """The id by which the client sees that a file has not changed: SHA-256 in LFS, else git's SHA-1 of the blob."""
    if is_lfs(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class Repository:
    """A repository: every commit holds the whole tree, by path."""

    kind: str
    id: str
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    head: str = ""

    def __post_init__(self):
        self.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})

    @property
    def files(self) -> dict[str, bytes]:
        """The tree at the head."""
        return self.commits[self.head]

    def commit(self, tree: dict[str, bytes]) -> str:
        """Adds a commit whose tree is `tree`; returns its id."""
        self.head = hashlib.sha1(f"{self.kind}/{self.id}/{len(self.commits)}".encode()).hexdigest()
        self.commits[self.head] = tree
        return self.head

    def at(self, revision: str) -> tuple[str, dict[str, bytes]]:
        """The commit id and the tree at a revision: `main` or a commit id."""
        commit = self.head if revision == "main" else revision
        if commit not in self.commits:
            raise Refused(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"no revision {revision}")
        return commit, self.commits[commit]

    def info(self, commit: str) -> dict:
        """What the Hub tells about a repository."""
        siblings = [{"rfilename": path} for path in sorted(self.commits[commit])]
        return {
            "_id": "0" * 24, "id": self.id, "sha": commit, "private": self.private, "siblings": siblings, "tags": [],
        }  # fmt: skip


class LoopbackHub(ThreadingHTTPServer):
    """The server. Use it as a context manager; `url` is its endpoint.

    Attributes:
        requests: every request so far, as (method, path without the query).
        repositories: by (`"models"` or `"datasets"`, id).
        failing: a path that contains this text is answered with 500 (an outage in the middle of an upload).
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.RLock()
        self.requests: list[tuple[str, str]] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.failing: str | None = None

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: Path, token: str = WRITE_TOKEN) -> dict[str, str]:
        """The variables with which a child process takes this server for the Hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": token,
            "HF_HOME": str(home),
        }

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.shutdown()
        super().__exit__(exc_type, exc_val, exc_tb)


class Handler(BaseHTTPRequestHandler):
    """Routes one request. A route returns JSON, or writes its answer itself and returns None."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave in one packet: two cost a delayed acknowledgement each
    server: LoopbackHub  # ty: ignore[incompatible-mutable-override]

    def log_message(self, format, *args):  # silent: pytest owns the terminal
        pass

    def do_GET(self):
        self.answer(self.get)

    def do_HEAD(self):
        self.answer(self.get)

    def do_POST(self):
        self.answer(self.post)

    def do_PUT(self):
        self.answer(self.put)

    def answer(self, route: Callable[[str], dict | list | None]):
        """Runs a route under the lock and sends what comes of it, an error included."""
        path = unquote(urlsplit(self.path).path)
        self.body = self.read_body()
        with self.server.lock:
            self.server.requests.append((self.command, path))
            try:
                if self.server.failing is not None and self.server.failing in path:
                    raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "Outage", "the Hub is down")
                result = route(path)
            except Refused as error:
                self.send_json({"error": str(error)}, error.status, error.headers)
            else:
                if result is not None:
                    self.send_json(result)

    def read_body(self) -> bytes:
        """The request's body, of a stated length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, content: bytes, status: HTTPStatus, headers: dict[str, str]):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_json(self, value: dict | list, status: HTTPStatus = HTTPStatus.OK, headers: dict | None = None):
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def role(self) -> str | None:
        """What the caller's token may do; None without a known token."""
        return ROLES.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def require_write(self):
        if self.role() is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Invalid credentials in Authorization header")
        if self.role() != "write":
            raise Refused(HTTPStatus.FORBIDDEN, "Forbidden", "this token cannot write")

    def repository(self, kind: str, name: str) -> Repository:
        repository = self.server.repositories.get((kind, name))
        if repository is None or (repository.private and self.role() is None):
            raise Refused(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        return repository

    def get(self, path: str) -> dict | list | None:
        if path == "/api/whoami-v2":
            return self.whoami()
        if match := RESOLVE.fullmatch(path):
            return self.resolve(**match.groupdict())
        if match := API.fullmatch(path):
            repository = self.repository(match["kind"], match["id"])
            commit, tree = repository.at(match["revision"] or "main")
            return self.tree(tree) if match["verb"] == "tree" else repository.info(commit)
        raise Refused(HTTPStatus.NOT_FOUND, "EntryNotFound", f"no page {path}")

    def post(self, path: str) -> dict | list | None:
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        self.require_write()
        if path == "/api/repos/create":
            return self.create(json.loads(self.body))
        if path == "/lfs/verify":
            return self.verify(json.loads(self.body))
        if LFS_BATCH.fullmatch(path):
            return self.lfs_batch(json.loads(self.body))
        if match := API.fullmatch(path):
            repository = self.repository(match["kind"], match["id"])
            _, tree = repository.at(match["revision"])
            if match["verb"] == "preupload":
                return self.preupload(tree, json.loads(self.body))
            if match["verb"] == "commit":
                return self.commit(repository, dict(tree))
        raise Refused(HTTPStatus.NOT_FOUND, "EntryNotFound", f"no page {path}")

    def put(self, path: str) -> dict:
        name = path.removeprefix("/lfs/")
        if hashlib.sha256(self.body).hexdigest() != name:
            raise Refused(HTTPStatus.BAD_REQUEST, "BadDigest", "the bytes are not those announced")
        self.server.objects[name] = self.body
        return {}

    def whoami(self) -> dict:
        role = self.role()
        if role is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Invalid credentials in Authorization header")
        token = {"displayName": "test", "role": role}
        organisations = [{"name": ORGANISATION, "type": "org"}]
        return {"type": "user", "name": USER, "orgs": organisations, "auth": {"accessToken": token}}

    def create(self, wanted: dict) -> dict | None:
        kind = wanted.get("type", "model") + "s"
        name = f"{wanted.get('organization') or USER}/{wanted['name']}"
        prefix = "" if kind == "models" else f"{kind}/"
        answer = {"url": f"{self.server.url}/{prefix}{name}", "name": name, "id": name}
        if (kind, name) in self.server.repositories:
            self.send_json(answer, HTTPStatus.CONFLICT)
            return None
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))  # huggingface_hub 2 and 1
        self.server.repositories[kind, name] = Repository(kind, name, private)
        return answer

    def preupload(self, tree: dict[str, bytes], wanted: dict) -> dict:
        files = []
        for entry in wanted["files"]:
            path = entry["path"]
            mode = "lfs" if is_lfs(path) else "regular"
            known = oid(path, tree[path]) if path in tree else None
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known})
        return {"files": files}

    def lfs_batch(self, wanted: dict) -> dict:
        objects = []
        for entry in wanted["objects"]:
            if entry["oid"] not in self.server.objects:
                upload = {"href": f"{self.server.url}/lfs/{entry['oid']}"}
                entry["actions"] = {"upload": upload, "verify": {"href": f"{self.server.url}/lfs/verify"}}
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def verify(self, wanted: dict) -> dict:
        if len(self.server.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refused(HTTPStatus.BAD_REQUEST, "BadSize", "the object has another size")
        return {}

    def commit(self, repository: Repository, tree: dict[str, bytes]) -> dict:
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                tree[value["path"]] = self.server.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                tree.pop(value["path"])
        commit = repository.commit(tree)
        page = f"{self.server.url}/{repository.id}/commit/{commit}"
        return {"success": True, "commitOid": commit, "commitUrl": page, "pullRequestUrl": None}

    def tree(self, tree: dict[str, bytes]) -> list[dict]:
        entries = []
        for path, content in sorted(tree.items()):
            entry = {"type": "file", "path": path, "oid": oid(path, content), "size": len(content)}
            if is_lfs(path):
                entry["lfs"] = {"oid": oid(path, content), "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return entries

    def resolve(self, kind: str | None, id: str, revision: str, path: str) -> None:
        repository = self.repository("datasets" if kind else "models", id)
        commit, tree = repository.at(revision)
        if path not in tree:
            raise Refused(HTTPStatus.NOT_FOUND, "EntryNotFound", f"no file {path}", commit)
        etag = f'"{oid(path, tree[path])}"'
        headers = {"X-Repo-Commit": commit, "ETag": etag, "Content-Type": "application/octet-stream"}
        if is_lfs(path):
            headers |= {"X-Linked-ETag": etag, "X-Linked-Size": str(len(tree[path]))}
        self.send(tree[path], HTTPStatus.OK, headers)

"""A minimal Hugging Face Hub on loopback: model repositories in memory, to read from and to push to."""

import json
import os
import re
from base64 import b64decode
from collections import defaultdict
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml


DATE = "2026-01-01T00:00:00.000Z"


class Commit(NamedTuple):
    hash: str
    files: dict[str, bytes]
    history: list["Commit"]  # of its ancestors, the newest first
    title: str


class LoopbackHub:
    """A Hub for the time of a `with` block: `add` folders to it, then start processes with its `environment`."""

    def __init__(self):
        self.revisions: dict[str, dict[str, Commit]] = {}  # of a repository: each ref and each hash
        self.pull_requests: dict[str, list[dict]] = defaultdict(list)
        self.requests: list[tuple[str, str]] = []
        self.tokens: dict[str, str] = {}  # whose each is; they may write into the repositories of that name
        self.private: set[str] = set()  # repositories
        # What the next commits are answered: a status, or None, a connection that is cut before all has arrived.
        self.faults: list[int | None] = []

    def __enter__(self) -> "LoopbackHub":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.hub = self
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def environment(self, cache_dir: str | os.PathLike) -> dict[str, str]:
        # Inherited, a variable such as HF_HUB_CACHE or TRANSFORMERS_OFFLINE would win over the ones below.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        return inherited | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache_dir),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "no_proxy": "127.0.0.1",
        }

    def add(self, repo_id: str, folder: Path, ref: str = "main") -> str:
        """Commits the folder's files, and no others, to a ref (a new one starts from main); returns the commit's hash.

        The hash is that of the contents and of the parent, as git's.
        """
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return self.commit(repo_id, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, ref)

    def commit(self, repo_id: str, files: dict[str, bytes], ref: str, title: str = "Upload") -> str:
        revisions = self.revisions.setdefault(repo_id, {})
        parent = revisions.get(ref) or revisions.get("main")
        history = [parent, *parent.history] if parent else []
        listing = [commit.hash for commit in history[:1]] + [f"{blob_id(data)} {name}" for name, data in files.items()]
        commit = Commit(sha1("\n".join(listing).encode()).hexdigest(), files, history, title)
        revisions[commit.hash] = revisions[ref] = commit
        return commit.hash

    def add_pull_request(self, repo_id: str, title: str, author: str, ref: str, status: str = "open") -> None:
        """Opens a pull request, whose number is that of its ref: refs/pr/N."""
        self.revisions[repo_id].setdefault(ref, self.revisions[repo_id]["main"])
        request = {"num": int(ref.removeprefix("refs/pr/")), "title": title, "author": {"name": author}}
        request |= {"repo": {"name": repo_id, "type": "model"}, "isPullRequest": True}
        self.pull_requests[repo_id].append(request | {"status": status, "createdAt": DATE})


class NotFound(Exception):
    """The text is the X-Error-Code by which huggingface_hub picks its exception."""


class Refused(Exception):
    """A status, and a text."""


class Handler(BaseHTTPRequestHandler):
    """A route's method gets the pattern's groups, and returns the body: bytes, or an object to send as JSON."""

    def do(self) -> None:
        hub, method, url = self.server.hub, self.command.replace("HEAD", "GET"), urlsplit(self.path)
        hub.requests.append((self.command, self.path))
        self.hub, self.query = hub, dict(parse_qsl(url.query))
        self.status, self.reply_headers = 200, {}
        try:
            self.body = self.read_body()
            body = self.answer(method, url.path)
        except ConnectionAbortedError:
            self.close_connection = True
            return
        except Refused as error:
            self.status, message = error.args
            body = {"error": message}
        except NotFound as error:
            self.status, body = 404, {"error": str(error)}
            self.reply_headers |= {"X-Error-Code": str(error), "X-Error-Message": str(error)}
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            self.reply_headers["Content-Type"] = "application/json"
        self.send_response(self.status)
        for name, value in (self.reply_headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # All of them, so that `requests` also has what no route answers.
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do

    def log_message(self, *args) -> None:
        pass

    def read_body(self) -> bytes:
        if "/commit/" in self.path and self.hub.faults[:1] == [None]:
            self.hub.faults.pop(0)
            self.rfile.read(1000)
            raise ConnectionAbortedError
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def user(self, owner: str | None = None) -> str:
        """Who asks, by the token; refused without one, or where the owner is another."""
        user = self.hub.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if user is None:
            raise Refused(401, "Invalid username or password.")
        if owner not in (None, user):
            raise Refused(403, "You don't have the rights to write here.")
        return user

    def answer(self, method: str, path: str) -> object:
        for route_method, pattern, function in ROUTES:
            if method == route_method and (match := re.fullmatch(pattern, path)):
                return function(self, **{name: unquote(value) for name, value in match.groupdict("").items()})
        raise NotFound("NoSuchRoute")

    def commit(self, repo_id: str, revision: str) -> Commit:
        if repo_id not in self.hub.revisions:
            raise NotFound("RepoNotFound")
        if revision not in self.hub.revisions[repo_id]:
            raise NotFound("RevisionNotFound")
        return self.hub.revisions[repo_id][revision]

    def file(self, repo_id: str, revision: str, path: str) -> bytes:
        commit = self.commit(repo_id, revision)
        self.reply_headers["X-Repo-Commit"] = commit.hash  # of a missing file too: the client caches that it is missing
        if path not in commit.files:
            raise NotFound("EntryNotFound")
        data = commit.files[path]
        self.reply_headers |= {"ETag": f'"{blob_id(data)}"', "Accept-Ranges": "bytes"}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, stop = int(part[1]), min(int(part[2] or len(data)) + 1, len(data))
            self.status, self.reply_headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{len(data)}"
            return data[start:stop]
        return data

    def model_info(self, repo_id: str, revision: str) -> dict:
        commit = self.commit(repo_id, revision or "main")
        files = [{"rfilename": name, "size": len(data), "blobId": blob_id(data)} for name, data in commit.files.items()]
        flags = {"private": repo_id in self.hub.private, "gated": False, "disabled": False}
        card = re.match(r"---\n(.*?)\n---\n", commit.files.get("README.md", b"").decode(), re.DOTALL)
        data = yaml.safe_load(card[1]) if card else {}
        flags |= {name: data[name] for name in ("pipeline_tag", "library_name") if name in data}
        return {"id": repo_id, "sha": commit.hash, "lastModified": DATE, "siblings": files, "tags": []} | flags

    def tree(self, repo_id: str, revision: str, path: str) -> list[dict]:
        files = {PurePosixPath(name): data for name, data in self.commit(repo_id, revision).files.items()}
        folders = {PurePosixPath(), *(folder for name in files for folder in name.parents)}
        root, recursive = PurePosixPath(path), self.query.get("recursive", "").lower() in ("true", "1")
        if root not in folders:
            raise NotFound("EntryNotFound")
        entries = []
        for name in sorted(files.keys() | folders):
            if root in (name.parents if recursive else name.parents[:1]):
                kind, data = ("file", files[name]) if name in files else ("directory", b"")
                entries.append({"type": kind, "path": str(name), "size": len(data), "oid": blob_id(data)})
        return entries

    def commits(self, repo_id: str, revision: str) -> list[dict]:
        commit = self.commit(repo_id, revision)
        fields = {"message": "", "authors": [{"user": "user"}], "date": DATE}
        return [{"id": commit.hash, "title": commit.title} | fields for commit in [commit, *commit.history]]

    def discussions(self, repo_id: str) -> dict:
        self.commit(repo_id, "main")
        type_, author, status = (self.query.get(name) for name in ("type", "author", "status"))
        found = [
            request
            for request in self.hub.pull_requests[repo_id]
            if type_ in (None, "all", "pull_request")
            and author in (None, request["author"]["name"])
            and status in (None, "all", "open" if request["status"] == "open" else "closed")
        ]
        return {"discussions": found, "count": len(found), "start": 0}

    def whoami(self) -> dict:
        return {"type": "user", "name": self.user(), "fullname": "", "email": "", "orgs": [], "auth": {}}

    def create(self) -> dict:
        wanted = json.loads(self.body)
        owner = wanted.get("organization") or self.user()
        self.user(owner)
        repo_id = f"{owner}/{wanted['name']}"
        if repo_id in self.hub.revisions:
            self.status = 409
        else:
            self.hub.commit(repo_id, {}, "main")
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private.add(repo_id)
        return {"url": f"{self.hub.endpoint}/{repo_id}", "id": repo_id}

    def create_branch(self, repo_id: str, revision: str) -> dict:
        self.user(repo_id.split("/")[0])
        if revision in self.hub.revisions[repo_id]:
            raise Refused(409, "The branch exists.")
        self.hub.revisions[repo_id][revision] = self.commit(repo_id, "main")
        return {}

    def validate_card(self) -> dict:
        return {"errors": [], "warnings": []}

    def preupload(self, repo_id: str, revision: str) -> dict:
        self.user(repo_id.split("/")[0])
        there = {path: blob_id(data) for path, data in self.commit(repo_id, revision).files.items()}
        paths = [file["path"] for file in json.loads(self.body)["files"]]
        answer = {"uploadMode": "regular", "shouldIgnore": False}
        return {"files": [{"path": path, "oid": there.get(path)} | answer for path in paths]}

    def push(self, repo_id: str, revision: str) -> dict:
        self.user(repo_id.split("/")[0])
        if self.hub.faults:
            raise Refused(self.hub.faults.pop(0), "Not now.")
        files, title = dict(self.commit(repo_id, revision).files), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "header":
                title = entry["value"]["summary"]
            elif entry["key"] == "file":
                files[entry["value"]["path"]] = b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                del files[entry["value"]["path"]]
        commit = self.hub.commit(repo_id, files, revision, title)
        return {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{repo_id}/commit/{commit}"}


# Matched before unquoting, so that a quoted slash, as in refs%2Fpr%2F1, stays inside its segment.
REPO, REVISION = "(?P<repo_id>[^/]+(?:/[^/]+)?)", "(?P<revision>[^/]+)"
ROUTES = [  # the first match wins
    ("GET", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)", Handler.file),
    ("GET", f"/api/models/{REPO}/tree/{REVISION}(?:/(?P<path>.+))?", Handler.tree),
    ("GET", f"/api/models/{REPO}/commits/{REVISION}", Handler.commits),
    ("GET", f"/api/models/{REPO}/discussions", Handler.discussions),
    ("GET", f"/api/models/{REPO}(?:/revision/{REVISION})?", Handler.model_info),
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate_card),
    ("POST", f"/api/models/{REPO}/branch/{REVISION}", Handler.create_branch),
    ("POST", f"/api/models/{REPO}/preupload/{REVISION}", Handler.preupload),
    ("POST", f"/api/models/{REPO}/commit/{REVISION}", Handler.push),
]


def blob_id(data: bytes) -> str:
    """git's hash of a file."""
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()

"""What a Hub for tests answers: one request about repositories in, one answer out.

Knows neither sockets nor faults; `tests/hub.py` sends what is decided here. Routes, headers and
errors are those that huggingface_hub 2.4 and datasets 5.2 look at.
"""

import gzip
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from tests.hub_store import MAIN, Blob, Files, Repo

DATE = "2026-01-01T00:00:00.000Z"
POINTER_BYTES = 134
"""Size of the text file that stands for an LFS file in git."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as an answer can depend on it."""

    method: str
    path: str
    """As it was sent, quoted."""
    query: Mapping[str, str]
    token: str | None
    range: str | None
    form: bytes
    form_type: str
    encodings: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; the body of a HEAD is only measured."""

    status: int
    headers: Mapping[str, str]
    body: memoryview
    is_file: bool = False


@dataclass(slots=True)
class Site:
    """The repositories of a Hub, and how it answers; every switch may be set at any time."""

    endpoint: str
    cdn_endpoint: str
    """Where large files are sent from after a redirect: another origin, so no token goes there."""
    repos: dict[str, Repo] = field(default_factory=dict)
    known_tokens: set[str] | None = None
    """Tokens that name a user, beside those of the repositories; None: any text does."""
    lfs_threshold: int = 1 << 16
    """From how many bytes on a file is an LFS file."""
    page_size: int = 1000
    """How many entries of a tree come at once."""
    redirect: bool = False
    """Send LFS files from the CDN, by addresses that are signed."""
    signature_uses: int | None = None
    """For how many requests each signature holds; None: until `expire_signatures`."""
    ignore_ranges: bool = False
    """Answer 200 and the whole file, whatever range is asked for."""
    wrong_content_range: bool = False
    """Send the beginning of the file, and say so, whatever range is asked for."""
    compresses: bool = False
    """Send files compressed to whoever takes them so, as a proxy may; such have no ranges."""
    _signatures: dict[str, int] = field(default_factory=dict)
    _signed: Iterator[int] = field(default_factory=itertools.count)

    def expire_signatures(self) -> None:
        """From now on every address that a redirect has given is refused."""
        self._signatures.clear()

    def sign(self, blob: Blob) -> str:
        """A signature for a content that no one had before."""
        text = hashlib.sha256(f"{blob.sha256} {next(self._signed)}".encode()).hexdigest()
        self._signatures[text] = 0
        return text

    def holds(self, signature: str) -> bool:
        """Whether a signature is good for one more request, which it then has been."""
        used = self._signatures.get(signature)
        if used is None or (self.signature_uses is not None and used >= self.signature_uses):
            return False
        self._signatures[signature] = used + 1
        return True


def answer(site: Site, asked: Asked) -> Answer:
    """Answer a request: 404 without an error code if there is no such route."""
    # Cut before it is unquoted: a revision such as refs%2Fpr%2F1 is one part.
    match [unquote(part) for part in asked.path.strip("/").split("/")]:
        case ["api", "whoami-v2"]:
            return _refused(401, "", "Invalid username or password.")
        case ["api", ("datasets" | "models") as kind, user, name, *rest]:
            repo = _readable(site, asked, f"{user}/{name}", kind)
            return repo if isinstance(repo, Answer) else _answer_api(site, asked, repo, rest)
        case ["datasets", user, name, "resolve", *rest]:
            repo = _readable(site, asked, f"{user}/{name}", "datasets")
            return repo if isinstance(repo, Answer) else _resolve(site, asked, repo, rest)
        case [user, name, "resolve", *rest]:
            repo = _readable(site, asked, f"{user}/{name}", "models")
            return repo if isinstance(repo, Answer) else _resolve(site, asked, repo, rest)
        case ["cdn", user, name, sha256, *_]:
            return _answer_cdn(site, asked, site.repos.get(f"{user}/{name}"), sha256)
        case ["api", "datasets" | "models", name]:
            return _not_found(asked, name)
    return _refused(404, "", "Sorry, we can't find the page you are looking for.")


def _readable(site: Site, asked: Asked, repo_id: str, kind: str) -> Repo | Answer:
    """The repository, if it may be known to whoever asks; gated ones may."""
    repo = site.repos.get(repo_id)
    own = {repo.token for repo in site.repos.values()}
    if asked.token and site.known_tokens is not None and asked.token not in site.known_tokens | own:
        return _refused(401, "", "Invalid credentials in Authorization header")
    if repo is None or repo.kind != kind or (repo.private and not _is_owner(asked, repo)):
        return _not_found(asked, repo_id)
    if repo.disabled:
        return _refused(403, "", "Access to this resource is disabled.")
    return repo


def _is_owner(asked: Asked, repo: Repo) -> bool:
    return asked.token is not None and asked.token == repo.token


def _not_found(asked: Asked, repo_id: str) -> Answer:
    # The Hub sends no code with the 401, but huggingface_hub knows one by its code or by an
    # address that begins with https.
    if asked.token is None:
        return _refused(401, "RepoNotFound", "Invalid username or password.")
    return _refused(404, "RepoNotFound", f"Repository not found: {repo_id}")


def _answer_api(site: Site, asked: Asked, repo: Repo, rest: list[str]) -> Answer:
    match rest:
        case []:
            return _answer_info(site, asked, repo, MAIN)
        case ["refs"]:
            return _json_answer(_refs(repo))
        case [("revision" | "tree" | "paths-info") as verb, *parts] if parts:
            revision, inner = _cut_revision(parts)
            if verb == "revision":
                return _answer_info(site, asked, repo, revision)
            if verb == "tree":
                return _answer_tree(site, asked, repo, (revision, inner))
            return _answer_paths(site, asked, repo, revision)
    return _refused(404, "", "Not found")


def _cut_revision(parts: list[str]) -> tuple[str, str]:
    """Part revision and path; refs/pr/1 may come unquoted."""
    taken = 3 if parts[0] == "refs" else 1
    return "/".join(parts[:taken]), "/".join(parts[taken:]).strip("/")


def _answer_info(site: Site, asked: Asked, repo: Repo, revision: str) -> Answer:
    commit = repo.resolve(revision)
    if commit is None:
        return _no_revision(revision)
    with_blobs = _is_true(asked.query.get("blobs"))
    info = {
        "_id": "0" * 24,
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [
            {"rfilename": path} | (_sibling(site, blob) if with_blobs else {})
            for path, blob in sorted(repo.files(commit).items())
        ],
    }
    return _json_answer(info)


def _sibling(site: Site, blob: Blob) -> dict[str, Any]:
    lfs = {"sha256": blob.sha256, "size": blob.size, "pointerSize": POINTER_BYTES}
    large = {"lfs": lfs} if blob.size >= site.lfs_threshold else {}
    return {"blobId": blob.oid, "size": blob.size, **large}


def _refs(repo: Repo) -> dict[str, Any]:
    def told(kind: str, names: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
            for name, commit in names
        ]

    branches = [each for each in repo.branches.items() if not each[0].startswith("refs/")]
    converts = [
        {"name": name.rsplit("/", 1)[1], "ref": name, "targetCommit": commit}
        for name, commit in repo.branches.items()
        if name.startswith("refs/convert/")
    ]
    return {
        "branches": told("heads", branches),
        "tags": told("tags", repo.tags.items()),
        "converts": converts,
        "pullRequests": [],
    }


def _answer_tree(site: Site, asked: Asked, repo: Repo, at: tuple[str, str]) -> Answer:
    revision, folder = at
    commit = repo.resolve(revision)
    if commit is None:
        return _no_revision(revision)
    prefix = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in repo.files(commit).items() if path.startswith(prefix)}
    if folder and not inside:
        return _no_entry(commit, f'{folder} does not exist on "{revision}"')
    is_recursive = _is_true(asked.query.get("recursive"))
    depth = prefix.count("/")
    paths = {path for path in inside if is_recursive or path.count("/") == depth}
    for path in inside:
        parents = path.split("/")[:-1]
        levels = range(depth, len(parents) if is_recursive else min(depth + 1, len(parents)))
        paths |= {"/".join(parents[: level + 1]) for level in levels}
    by_commit = commit if _is_true(asked.query.get("expand")) else None
    entries = [_entry(site, by_commit, path, inside.get(path)) for path in sorted(paths)]
    first = int(asked.query.get("cursor", "0"))
    last = first + min(site.page_size, int(asked.query.get("limit", site.page_size)))
    following = urlencode({**asked.query, "cursor": last})
    link = {"Link": f'<{site.endpoint}{asked.path}?{following}>; rel="next"'}
    return _json_answer(entries[first:last], link if last < len(entries) else {})


def _entry(site: Site, commit: str | None, path: str, blob: Blob | None) -> dict[str, Any]:
    """What tree and paths-info say of a path: without a blob it is a folder."""
    told: dict[str, Any] = {"type": "directory", "oid": _folder_oid(path), "size": 0, "path": path}
    if blob is not None:
        told |= {"type": "file", "oid": blob.oid, "size": blob.size}
        if blob.size >= site.lfs_threshold:
            told["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": POINTER_BYTES}
    if commit:
        told["lastCommit"] = {"id": commit, "title": "Add files", "date": DATE}
    return told


def _folder_oid(path: str) -> str:
    return hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()


def _answer_paths(site: Site, asked: Asked, repo: Repo, revision: str) -> Answer:
    commit = repo.resolve(revision)
    if commit is None:
        return _no_revision(revision)
    files = repo.files(commit)
    is_json = "json" in asked.form_type
    form = json.loads(asked.form) if is_json else parse_qs(asked.form.decode())
    by_commit = commit if form.get("expand") in (True, ["true"]) else None
    names = [path.strip("/") for path in form.get("paths", [])]
    found = [path for path in names if _is_there(files, path)]
    return _json_answer([_entry(site, by_commit, path, files.get(path)) for path in found])


def _is_there(files: Files, path: str) -> bool:
    return path in files or any(name.startswith(f"{path}/") for name in files)


def _resolve(site: Site, asked: Asked, repo: Repo, rest: list[str]) -> Answer:
    if repo.gated and not _is_owner(asked, repo):
        more = "" if asked.token else " You must be authenticated to access it. Please log in."
        why = f"Access to dataset {repo.id} is restricted.{more}"
        return _refused(403 if asked.token else 401, "GatedRepo", why)
    revision, path = _cut_revision(rest)
    commit = repo.resolve(revision)
    if commit is None:
        return _no_revision(revision)
    blob = repo.files(commit).get(path)
    if blob is None:
        return _no_entry(commit, "Entry not found")
    is_large = blob.size >= site.lfs_threshold
    headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.sha256 if is_large else blob.oid}"'}
    if is_large:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": headers["ETag"]}
    if is_large and site.redirect:
        at = quote(f"/cdn/{repo.id}/{blob.sha256}/{path}")
        headers["Location"] = f"{site.cdn_endpoint}{at}?signature={site.sign(blob)}"
        return Answer(302, headers, memoryview(b""))
    return _file_answer(site, asked, blob, headers)


def _answer_cdn(site: Site, asked: Asked, repo: Repo | None, sha256: str) -> Answer:
    if not site.holds(asked.query.get("signature", "")):
        return _refused(403, "", "Request has expired")
    commits = repo.commits if repo else []
    blobs = (blob for commit in commits for blob in commit.values())
    blob = next((blob for blob in blobs if blob.sha256 == sha256), None)
    if blob is None:
        return _refused(404, "", "No such key")
    return _file_answer(site, asked, blob, {"ETag": f'"{blob.sha256}"'})


def _file_answer(site: Site, asked: Asked, blob: Blob, headers: dict[str, str]) -> Answer:
    """The file, or the one range of it that is asked for (RFC 9110, section 14)."""
    headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    whole = memoryview(blob.data)
    if site.compresses and "gzip" in asked.encodings:
        headers["Content-Encoding"] = "gzip"
        return Answer(200, headers, memoryview(gzip.compress(whole)), is_file=True)
    ranged = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.range or "")
    if ranged is None or ranged[0] == "bytes=-" or site.ignore_ranges:
        return Answer(200, headers, whole, is_file=True)
    first, last = ranged.groups()
    start = int(first) if first else max(0, blob.size - int(last))
    stop = min(blob.size, int(last) + 1) if first and last else blob.size
    if start >= stop:
        return Answer(416, headers | {"Content-Range": f"bytes */{blob.size}"}, memoryview(b""))
    if site.wrong_content_range:
        start, stop = 0, stop - start
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return Answer(206, headers, whole[start:stop], is_file=True)


def _no_revision(revision: str) -> Answer:
    return _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def _no_entry(commit: str, why: str) -> Answer:
    return _refused(404, "EntryNotFound", why, {"X-Repo-Commit": commit})


def _refused(status: int, code: str, why: str, more: Mapping[str, str] | None = None) -> Answer:
    headers = {"X-Error-Message": why, **({"X-Error-Code": code} if code else {}), **(more or {})}
    return _json_answer({"error": why}, headers, status)


def _json_answer(
    value: object, headers: Mapping[str, str] | None = None, status: int = 200
) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, memoryview(body))


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in {"true", "1"}

"""One file of a commit into the shared Hugging Face cache: resumed, verified, then visible.

huggingface_hub (2.4) throws away what it has when a download ends early, so the transfer is ours,
into its layout: bytes are appended to `blobs/ETAG.hffs.incomplete` under its own lock, which a
killed process leaves; a file that is whole and has the content that its name promises becomes
`blobs/ETAG`, and `snapshots/COMMIT/NAME` points there.
Invariants: a blob is whole or not there; a token goes to the Hub alone, not to where it redirects.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from hffs.data.hub.cached import is_plain
from hffs.data.hub.resolution import HubFile, Kind
from hffs.data.hub.retrying import Attempts, Patience, is_broken, status_of
from hffs.data.hub.token import Token
from hffs.errors import DataError

if TYPE_CHECKING:
    import httpx2

_ETAG = re.compile(r"[0-9A-Za-z][\w.-]{0,127}", re.ASCII)
_RESTARTS = 2
_NOT_ALLOWED = {401, 403, 404}  # a private data set is "not found" with a token that is not known
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Download:
    """How the files of one commit are fetched, the same for all of them.

    `report` is told of bytes as they arrive, from several threads, and of negative ones where a
    file has to begin anew; `stop` ends waits and transfers.
    """

    name: str
    commit: str
    storage: Path
    token: Token
    patience: Patience
    report: Callable[[int], None]
    stop: Event
    kind: Kind = "dataset"

    @property
    def snapshot(self) -> Path:
        """Where the files of the commit appear."""
        return self.storage / "snapshots" / self.commit


class StoppedError(Exception):
    """Another file failed: this one is left as far as it is."""


class _WrongContentError(Exception):
    """What was received is not what the name of the blob promises."""


def check_file(name: str, file: HubFile) -> None:
    """Refuse a file whose name or etag would leave the cache, or whose size is none."""
    if not is_plain(file.name) or not _ETAG.fullmatch(file.etag) or file.size_bytes < 0:
        which = f"{name} (file {file.name[:200]!r})"
        raise DataError("cannot download", which, why="the Hub lists it in a way that is not safe")


def partial_bytes(storage: Path, file: HubFile) -> int:
    """How much of a file is there from an earlier attempt; all of it, if its blob is."""
    blob = _size(_blob(storage, file))
    return blob if blob == file.size_bytes else min(_size(_partial(storage, file)), file.size_bytes)


def download(file: HubFile, job: Download) -> None:
    """Make a file appear in its snapshot. Raises StoppedError if it was told to."""
    from huggingface_hub.utils import WeakFileLock

    blob, pointer = _blob(job.storage, file), job.snapshot / file.name
    lock = job.storage.parent / ".locks" / job.storage.name / f"{file.etag}.lock"
    for folder in (blob.parent, pointer.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if not blob.exists() or _size(blob) != file.size_bytes:
            _transfer(file, job)
            _partial(job.storage, file).replace(blob)
        _point(pointer, blob)


def _transfer(file: HubFile, job: Download) -> None:
    """Append what is missing to the partial file until it is whole and right."""
    import httpx2

    partial, attempts = _partial(job.storage, file), Attempts(job.patience, job.stop)
    refused: set[str | None] = set()
    restarts = 0
    while True:
        token, have = job.token.read(), _size(partial)
        try:
            _receive(file, job, token, attempts)
            _verify(partial, file)
            return
        except _WrongContentError as error:
            job.report(-min(_size(partial), file.size_bytes))
            partial.unlink(missing_ok=True)
            # What lay there may be what is wrong, or only ranges are: once more from the beginning.
            restarts += 1
            if not have or restarts > _RESTARTS:
                raise _refusal(file, job, str(error)) from error
        except httpx2.HTTPError as error:
            refused.add(token)
            if status_of(error) in _NOT_ALLOWED and job.token.read() not in refused:
                continue  # the token was replaced meanwhile
            attempts.wait_after(error, is_passing=_expired(error) or is_broken(error))


def _expired(error: httpx2.HTTPError) -> bool:
    """Whether a signed address refused, that the Hub had redirected to; it signs a new one."""
    response = getattr(error, "response", None)
    return status_of(error) == 403 and response is not None and bool(response.history)


def _receive(file: HubFile, job: Download, token: str | None, attempts: Attempts) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    # Unbuffered: what has arrived is on disk when the process is killed.
    with _partial(job.storage, file).open("ab", buffering=0) as out:
        have = out.seek(0, os.SEEK_END)
        if have == file.size_bytes:
            return
        if have > file.size_bytes:
            raise _WrongContentError(f"{have} bytes are there of {file.size_bytes}")
        headers = build_hf_headers(token=token or False, library_name="hffs")
        # Compressed, neither the size nor a range would mean bytes of the file.
        headers["Accept-Encoding"] = "identity"
        if have:
            headers["Range"] = f"bytes={have}-"
        url = hf_hub_url(job.name, file.name, repo_type=job.kind, revision=job.commit)
        with get_session().stream("GET", url, headers=headers) as response:
            hf_raise_for_status(response)
            if _begins_at(response, have, file) != have:
                out.truncate(0)
                job.report(-have)
                have = 0
            for piece in response.iter_raw():
                have += len(piece)
                if have > file.size_bytes:
                    raise _WrongContentError(f"more than {file.size_bytes} bytes arrive")
                out.write(piece)
                job.report(len(piece))
                attempts.note_progress()
                if job.stop.is_set():
                    raise StoppedError
    _check_length(have, file)


def _begins_at(response: httpx2.Response, wanted: int, file: HubFile) -> int:
    """Where in the file an answer begins. A server may ignore a range, or answer another one."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _WrongContentError("it is sent compressed, which was not asked for")
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != wanted or int(found[3]) != file.size_bytes:
            raise _WrongContentError("another range is sent than was asked for")
        return wanted
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != file.size_bytes:
        raise _WrongContentError(f"{length} bytes are sent, {file.size_bytes} were announced")
    return 0


def _check_length(have: int, file: HubFile) -> None:
    import httpx2

    if have != file.size_bytes:
        # As a cut connection: repeated until the deadline, from where it stopped.
        raise httpx2.ReadError(f"it ended after {have} of {file.size_bytes} bytes")


def _verify(partial: Path, file: HubFile) -> None:
    """Compare with the etag: SHA-256 of a large file, the SHA-1 of a git blob of a small one."""
    if len(file.etag) == 64:
        digest = hashlib.sha256()
    elif len(file.etag) == 40:
        digest = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
    else:
        return
    with partial.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != file.etag:
        raise _WrongContentError("its content does not match its hash")


def _refusal(file: HubFile, job: Download, why: str) -> DataError:
    which = f"{file.name} of {job.name}@{job.commit[:12]}"
    return DataError("cannot download", which, why=why, fix="try again, or another HF_ENDPOINT")


def _point(pointer: Path, blob: Path) -> None:
    """Make a snapshot show a blob: a relative link, as huggingface_hub does, or the file itself."""
    from huggingface_hub import constants

    if not constants.HF_HUB_DISABLE_SYMLINKS:
        link = pointer.with_name(f".{blob.name[:64]}.{os.getpid()}.link")
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(os.path.relpath(blob, pointer.parent))
            link.replace(pointer)
            return
        except PermissionError:  # a file system without links (FAT, some network shares)
            link.unlink(missing_ok=True)
    blob.replace(pointer)


def _blob(storage: Path, file: HubFile) -> Path:
    return storage / "blobs" / file.etag


def _partial(storage: Path, file: HubFile) -> Path:
    return storage / "blobs" / f"{file.etag}.hffs.incomplete"


def _size(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

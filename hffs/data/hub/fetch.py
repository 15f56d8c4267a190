"""The files of a commit into the shared Hugging Face cache, several at once.

Owns what has to be sent at all, the check of free space, and the workers; one file is
`hffs.data.hub.download`. Asks nothing of the Hub for what is there already: a commit never changes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Lock

from hffs.data.hub.cached import (
    is_commit,
    is_plain,
    is_whole,
    repository_folder,
    snapshot_folder,
)
from hffs.data.hub.download import Download, StoppedError, check_file, download, partial_bytes
from hffs.data.hub.failures import hub_errors
from hffs.data.hub.libraries import set_up_hub
from hffs.data.hub.resolution import HubFile, Request
from hffs.data.hub.retrying import PATIENCE, Patience
from hffs.data.hub.token import Token
from hffs.errors import DataError

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Files on their way at the same time."""

_REPORT_S = 0.1

Progress = Callable[[int, int], None]
"""Told of bytes that are there, and of how many there will be."""


def fetch(
    request: Request,
    commit: str,
    files: Sequence[HubFile],
    progress: Progress,
    patience: Patience = PATIENCE,
) -> Path:
    """Return the snapshot folder with all of `files` in it; the revision then means this commit.

    That it does is only noted where the cache can be written to: it may be shared, and read-only.
    """
    folder = fetch_files(request, commit, files, progress, patience)
    try:
        remember_revision(request, commit)
    except OSError as error:
        line = "cannot note which commit %s of %s is, so that --offline will not find it: %s"
        log.warning(line, request.revision, request.name, error)
    return folder


def fetch_files(
    request: Request,
    commit: str,
    files: Sequence[HubFile],
    progress: Progress,
    patience: Patience = PATIENCE,
) -> Path:
    """Do as `fetch`, without a word on what the revision means: these are not all of its files."""
    storage = repository_folder(request.name, request.kind)
    folder = snapshot_folder(request.name, commit, request.kind)
    for file in files:
        check_file(request.name, file)
    missing = [file for file in files if not is_whole(folder, file)]
    if not missing:
        return folder
    with hub_errors(request):
        _check_space(request, storage, missing)
        set_up_hub()
        tally = _Tally(files, missing, storage)
        token = Token(request)
        job = Download(
            request.name, commit, storage, token, patience, tally.add, Event(), request.kind
        )
        _run(missing, job, lambda: progress(tally.done, tally.total))
        progress(tally.total, tally.total)  # another process may have brought some
    return folder


class _Tally:
    """Bytes that are there of those that will be, counted from several threads."""

    def __init__(self, files: Sequence[HubFile], missing: list[HubFile], storage: Path) -> None:
        self.total = sum(file.size_bytes for file in files)
        self.done = self.total - sum(_left(missing, storage).values())
        self._lock = Lock()

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self.done += size_bytes


def _left(missing: list[HubFile], storage: Path) -> dict[str, int]:
    """Bytes to be sent for each content: files may share one, as they share its blob."""
    return {file.etag: file.size_bytes - partial_bytes(storage, file) for file in missing}


def _run(files: list[HubFile], job: Download, report: Callable[[], None]) -> None:
    """Let workers take file after file; the first error ends all of them, and is raised."""
    queue, lock = iter(files), Lock()
    workers = min(AT_ONCE, len(files))
    with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
        running = {pool.submit(_work, queue, lock, job) for _ in range(workers)}
        try:
            while running:
                done, running = wait(running, _REPORT_S, return_when="FIRST_EXCEPTION")
                report()
                _raise_first(done)
        finally:
            job.stop.set()


def _raise_first(done: set[Future[None]]) -> None:
    for future in done:
        future.result()


def _work(queue: Iterator[HubFile], lock: Lock, job: Download) -> None:
    while not job.stop.is_set():
        with lock:
            file = next(queue, None)
        if file is None:
            return
        try:
            download(file, job)
        except StoppedError:
            return  # what stopped it is raised elsewhere


def _check_space(request: Request, storage: Path, missing: list[HubFile]) -> None:
    """Refuse what will not fit, before hours of downloading. Raises DataError."""
    needed = sum(_left(missing, storage).values())
    at = next(path for path in (storage, *storage.parents) if path.exists())
    free = shutil.disk_usage(at).free
    if needed > free:
        why = f"{_figure(needed)} needed, {_figure(free)} free in {storage.parent}"
        fix = "free some, or set HF_HOME to a folder on another disk"
        raise DataError("cannot download", request.name, why=why, fix=fix)


def _figure(size_bytes: int) -> str:
    """Bytes as people read them, never rounded to the same figure as another by a whole unit."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if size_bytes < 1000 else f"{size:.1f} {units[0]}"


def remember_revision(request: Request, commit: str) -> None:
    """Write what the revision means, where huggingface_hub looks for it when it is offline."""
    if is_commit(request.revision) or not is_plain(request.revision):
        return
    ref = repository_folder(request.name, request.kind) / "refs" / request.revision
    if ref.is_file() and ref.read_text() == commit:
        return
    ref.parent.mkdir(parents=True, exist_ok=True)
    new = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
    new.write_text(commit)
    new.replace(ref)

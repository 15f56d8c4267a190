"""One file into the cache: how its blob becomes visible, and what is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest
from huggingface_hub.utils import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from hffs.data.hub.download import Download, download
from hffs.data.hub.resolution import HubFile, Request
from hffs.data.hub.retrying import PATIENCE, Patience
from hffs.data.hub.token import Token
from hffs.errors import DataError

COMMIT = "0123456789" * 4
FILE = HubFile("data/é x.bin", 3, "etag")


@pytest.fixture
def job(tmp_path: Path) -> Download:
    """A download into a cache that has the blob."""
    storage = tmp_path / "hub/datasets--me--set"
    (storage / "blobs").mkdir(parents=True)
    (storage / "blobs/etag").write_bytes(b"abc")
    token = Token(Request("me/set"))
    return Download("me/set", COMMIT, storage, token, PATIENCE, lambda _: None, Event())


def test_a_link_is_relative_so_that_the_cache_can_be_moved(job: Download, tmp_path: Path) -> None:
    download(FILE, job)
    (tmp_path / "hub").rename(tmp_path / "moved")
    moved = tmp_path / "moved/datasets--me--set/snapshots" / COMMIT / FILE.name
    assert (moved.is_symlink(), moved.read_bytes()) == (True, b"abc")


@pytest.mark.parametrize("way", ["refused", "unwanted"])
def test_a_file_system_without_links_gets_the_file(
    job: Download, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    if way == "refused":
        monkeypatch.setattr(Path, "symlink_to", refuse)
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    download(FILE, job)
    shown = job.snapshot / FILE.name
    assert (shown.is_symlink(), shown.read_bytes()) == (False, b"abc")
    assert list(shown.parent.iterdir()) == [shown]


@contextmanager
def _answering(answers: list[Any]) -> Iterator[None]:
    """A Hub that gives these answers one after the other, or raises them.

    Only to a download: huggingface_hub asks by the same client who runs it, once a day, where its
    telemetry is on, as in a test by itself.
    """

    def answer(request: httpx2.Request) -> httpx2.Response:
        if "/resolve/" not in request.url.path:
            raise httpx2.ConnectError("nobody is there")
        found: Exception | httpx2.Response = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(answer)))
    try:
        yield
    finally:
        set_client_factory(default_client_factory)


def test_a_hub_that_is_away_for_a_moment_does_not_end_a_download(job: Download) -> None:
    """As one that was never there would, while a person waits for the first word."""
    (job.storage / "blobs/etag").unlink()
    hasty = replace(job, patience=Patience(stalled_s=20, first_wait_s=0.001))
    away = [httpx2.ConnectError(""), httpx2.ConnectTimeout(""), httpx2.ReadTimeout("")]
    answers = [*away, httpx2.Response(200, content=iter([b"abc"]))]
    with _answering(answers):
        download(FILE, hasty)
    assert (job.snapshot / FILE.name).read_bytes() == b"abc"
    assert not answers


def test_what_is_longer_than_it_was_announced_ends_at_once(job: Download) -> None:
    """Whatever it says of its length: a disk has an end."""
    (job.storage / "blobs/etag").unlink()
    pieces = [b"ab", b"cd", b"ef"]
    sent: list[bytes] = []

    def stream() -> Iterator[bytes]:
        for piece in pieces:
            sent.append(piece)
            yield piece

    with (
        _answering([httpx2.Response(200, content=stream())]),
        pytest.raises(DataError, match="more than 3 bytes arrive"),
    ):
        download(FILE, job)
    assert sent == pieces[:2]
    assert not list((job.storage / "blobs").iterdir())

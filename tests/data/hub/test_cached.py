"""What the cache has, told from the disk alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hffs.data.hub.cached import (
    cached_commit,
    is_plain,
    is_whole,
    repository_folder,
    snapshot_folder,
)
from hffs.data.hub.resolution import HubFile, Request
from hffs.errors import DataError, SourceError

COMMIT, OTHER = "0123456789" * 4, "f" * 40
ASKED = Request("me/set")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_files_have_to_be_there_in_their_size(cache: Path) -> None:
    files = [HubFile("a/x", 3, "x"), HubFile("y", 0, "y"), HubFile("z", 2, "z")]
    folder = snapshot_folder("me/set", COMMIT)
    assert folder == cache / "datasets--me--set" / "snapshots" / COMMIT
    assert [is_whole(folder, file) for file in files] == [False, False, False]
    (folder / "a").mkdir(parents=True)
    (folder / "a/x").write_bytes(b"abc")
    (folder / "z").write_bytes(b"short"[:1])
    (folder / "y").symlink_to("nowhere")
    assert [is_whole(folder, file) for file in files] == [True, False, False]


def test_the_cache_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon changes its folder, and HF_HOME may be relative."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "hub")
    monkeypatch.chdir(tmp_path)
    assert repository_folder("me/set") == tmp_path / "hub/datasets--me--set"


def test_a_revision_is_what_was_last_downloaded(cache: Path) -> None:
    folder = cache / "datasets--me--set"
    (folder / "refs/convert").mkdir(parents=True)
    (folder / "refs/main").write_text(COMMIT)
    (folder / "refs/convert/parquet").write_text(OTHER)
    (folder / "refs/spoilt").write_bytes(b"\xff\xfe")
    assert cached_commit(ASKED) is None, "it has no snapshot"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    assert cached_commit(ASKED) == COMMIT
    assert cached_commit(Request("me/set", revision=COMMIT)) == COMMIT
    for revision in (OTHER, "convert/parquet", "spoilt", "none", "../refs/main", "/", ""):
        assert cached_commit(Request("me/set", revision=revision)) is None


@pytest.mark.parametrize("name", ["../x", "a/b/c", "/etc", "a/..", "", "a\0/b", ".a/b", "a/b\n"])
def test_a_name_that_is_none_reaches_no_folder(name: str) -> None:
    with pytest.raises(SourceError, match="owner/name"):
        repository_folder(name)


@pytest.mark.parametrize("commit", ["main", "", "../x", COMMIT[1:], COMMIT + "\n"])
def test_a_commit_is_whole(commit: str) -> None:
    with pytest.raises(DataError, match="no commit"):
        snapshot_folder("me/set", commit)


@pytest.mark.parametrize("name", ["a", "a/b", "é b", "..a", "a..b/c", "a:b", "~"])
def test_plain_names_are_left_alone(name: str) -> None:
    assert is_plain(name)


def test_asking_the_cache_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hffs.data.hub import cached, resolution\n"
        "cached.cached_commit(resolution.Request('me/set'))\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"datasets", "pyarrow", "httpx2", "numpy"}

"""Data sets of a Hub through the real command: commits, splits, tokens, offline, interruptions."""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs, Mount
from tests.hub import HubServer
from tests.hub_store import Repo

pytestmark = pytest.mark.fuse


def _photo(seed: int, noise: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24 + seed), (seed, 99, 9)).save(file, "JPEG")
    return file.getvalue() + os.urandom(noise)


def shard(*numbers: int, noise: int = 0, caption: str = "photo") -> bytes:
    """A Parquet shard whose rows are named by numbers; noise behind the images makes it large."""
    images = [{"bytes": _photo(n, noise), "path": None} for n in numbers]
    table = pa.table({"image": images, "caption": [f"{caption} {n}" for n in numbers]})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    return sink.getvalue()


@pytest.fixture
def photos(hub: HubServer, hffs: Hffs, tmp_path: Path) -> Repo:
    """A repository with two splits, and a command that knows its Hub."""
    repo = hub.add("owner/photos")
    repo.write_all(
        {
            "data/train-00000-of-00002.parquet": shard(0, 1),
            "data/train-00001-of-00002.parquet": shard(2),
            "data/test-00000-of-00001.parquet": shard(9),
            "README.md": b"# Photos\n",
        }
    )
    hffs.environ.update(hub.env(tmp_path / "home"))
    return repo


def _captions(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("*.txt"))]


def test_only_the_split_is_downloaded_and_served_from_the_cache_itself(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    folder = mount("owner/photos")
    assert _captions(folder) == ["photo 0", "photo 1", "photo 2"]
    assert hub.sent_bytes(r"GET .*train") == len(shard(0, 1)) + len(shard(2))
    assert hub.sent_bytes(r"GET .*/resolve/.*test") == 0
    pid = hffs.pid(folder)
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert f"{tmp_path}/home/hub/datasets--owner--photos/blobs/" in maps
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert all(_photo(0) not in path.read_bytes() for path in kept)


def test_the_commit_is_shown_and_pins_the_view(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    before = photos.commit
    photos.tag("v1")
    first = mount("owner/photos")
    told = hffs.describe(first)
    assert told is not None
    assert told["commit"] == before
    assert os.getxattr(first / "0.jpg", "user.hffs.commit").decode() == before
    assert json.loads(os.getxattr(first, "user.hffs.view"))["commit"] == before
    assert before[:12] in hffs("ls")
    photos.write("data/train-00001-of-00002.parquet", shard(5))
    assert _captions(first)[-1] == "photo 2"
    second = mount("owner/photos")
    assert _captions(second)[-1] == "photo 5"
    pages = {(hffs.describe(each) or {})["fingerprint"] for each in (first, second)}
    assert len(pages) == 2
    for revision in ("v1", before):
        again = mount("owner/photos", "--revision", revision)
        assert _captions(again)[-1] == "photo 2"
        assert (hffs.describe(again) or {})["fingerprint"] == told["fingerprint"]


def test_a_commit_that_is_here_asks_nobody(photos: Repo, hub: HubServer, mount: Mount) -> None:
    mount("owner/photos", "--revision", photos.commit)
    hub.clear()
    mount("owner/photos", "--revision", photos.commit)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("test", [9]),
        ("train[1:]", [1, 2]),
        ("train[:34%]", [0]),
        ("test+train[-1:]", [9, 2]),
    ],
)
def test_splits(split: str, expected: list[int], photos: Repo, mount: Mount) -> None:
    folder = mount("owner/photos", "--split", split)
    assert _captions(folder) == [f"photo {n}" for n in expected]
    rows = [int(os.getxattr(path, "user.hffs.row")) for path in sorted(folder.glob("*.jpg"))]
    assert rows == list(range(len(expected)))


def test_configs_and_data_files(photos: Repo, hffs: Hffs, mount: Mount, tmp_path: Path) -> None:
    card = """---
configs:
- config_name: some
  data_files: data/train-00000-*.parquet
- config_name: other
  data_files:
  - split: train
    path: data/test-*.parquet
---
"""
    photos.write("README.md", card.encode())
    assert _captions(mount("owner/photos", "--config-name", "some")) == ["photo 0", "photo 1"]
    assert _captions(mount("owner/photos", "--config-name", "other")) == ["photo 9"]
    named = mount("owner/photos", "--data-files", "data/t*-00000-*.parquet")
    assert _captions(named) == ["photo 9", "photo 0", "photo 1"]
    config = tmp_path / "photos.json"
    split = {"train": "data/test-*.parquet", "test": "data/train-*"}
    config.write_text(json.dumps({"dataset_name": "owner/photos", "data_files": split}))
    assert _captions(mount(config)) == ["photo 9"]
    done = hffs.run("inspect", "owner/photos", "--config-name", "other", "--json")
    assert json.loads(done.stdout)["source"] == "owner/photos"


@pytest.mark.parametrize("way", ["variable", "file", "login"])
def test_a_private_data_set_needs_its_token(
    way: str, photos: Repo, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    photos.private, photos.token = True, "hf_secretsecret"
    refused = hffs.run("mount", "owner/photos", _empty(tmp_path))
    assert refused.returncode == 3
    assert "or private and not open to you" in refused.stderr
    flags = []
    if way == "variable":
        hffs.environ["HF_TOKEN"] = photos.token
    elif way == "file":
        (tmp_path / "token").write_text(f"{photos.token}\n")
        flags = ["--token-file", str(tmp_path / "token")]
    else:
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "home/token").write_text(photos.token)
    folder = mount("owner/photos", *flags)
    assert _captions(folder) == ["photo 0", "photo 1", "photo 2"]
    assert (
        photos.token
        not in Path(f"/proc/{(hffs.describe(folder) or {})['pid']}/cmdline").read_text()
    )
    said = [hffs.log(), hffs("ls", "--json")]
    said += [path.read_text("latin-1") for path in _kept(tmp_path / "cache")]
    assert not any(photos.token in text for text in said)


def _kept(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir(exist_ok=True)
    return folder / "empty"


def test_a_copy_in_the_cache_is_never_mounted_in_silence(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    commit = photos.commit
    folder = mount("owner/photos")
    hffs("umount", folder)
    photos.private, photos.token = True, "hf_right"
    refused = hffs.run("mount", "owner/photos", _empty(tmp_path))
    assert refused.returncode == 3
    hffs.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    refused = hffs.run("mount", "owner/photos", _empty(tmp_path))
    assert refused.returncode == 3
    assert "with --offline" in refused.stderr
    assert commit[:12] in refused.stderr
    hub.clear()
    assert _captions(mount("owner/photos", "--offline")) == ["photo 0", "photo 1", "photo 2"]
    hffs.environ["HF_HUB_OFFLINE"] = "1"
    assert len(_captions(mount("owner/photos"))) == 3
    assert hub.requests == []


def test_offline_takes_what_other_programs_downloaded(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    code = "import huggingface_hub as h; h.snapshot_download('owner/photos', repo_type='dataset')"
    subprocess.run([sys.executable, "-c", code], env=hffs.environ, check=True)
    hub.clear()
    offline = mount("owner/photos", "--offline")
    assert _captions(offline) == ["photo 0", "photo 1", "photo 2"]
    assert hub.requests == []
    online = mount("owner/photos")
    assert hub.sent_bytes(r"GET .*/resolve/.*parquet") == 0
    pages = {(hffs.describe(each) or {})["fingerprint"] for each in (offline, online)}
    assert len(pages) == 1


def test_regression_a_part_that_was_mounted_offline_is_not_all_of_it_online(
    hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    hffs.environ.update(hub.env(tmp_path / "home"))
    hub.add("owner/two").write_all({"train-a.parquet": shard(0), "train-b.parquet": shard(1)})
    code = "import huggingface_hub as h; h.hf_hub_download('owner/two', 'train-a.parquet', "
    code += "repo_type='dataset')"
    subprocess.run([sys.executable, "-c", code], env=hffs.environ, check=True)
    assert _captions(mount("owner/two", "--offline")) == ["photo 0"]
    assert _captions(mount("owner/two")) == ["photo 0", "photo 1"]
    assert _captions(mount("owner/two", "--offline")) == ["photo 0", "photo 1"]


def test_offline_names_what_is_missing(
    photos: Repo, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    refused = hffs.run("mount", "owner/photos", _empty(tmp_path), "--offline")
    assert refused.returncode == 3
    assert "nothing of its revision main is on this host" in refused.stderr
    hffs("umount", mount("owner/photos"))
    (snapshot,) = (tmp_path / "home/hub/datasets--owner--photos/snapshots").iterdir()
    (snapshot / "data/train-00001-of-00002.parquet").unlink()
    refused = hffs.run("mount", "owner/photos", _empty(tmp_path), "--offline")
    assert refused.returncode == 3
    assert "data/train-00001-of-00002.parquet" in refused.stderr
    assert "without --offline" in refused.stderr
    assert len(_captions(mount("owner/photos"))) == 3


def test_regression_offline_takes_any_part_of_what_is_here(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    lines = [f"  - split: {name}\n    path: data/{name}-*\n" for name in ("train", "test")]
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{''.join(lines)}---\n"
    photos.write("README.md", card.encode())
    hffs("umount", mount("owner/photos"))
    hub.clear()
    assert _captions(mount("owner/photos", "--offline", "--split", "train[:1]")) == ["photo 0"]
    refused = hffs.run("mount", "owner/photos", _empty(tmp_path), "--offline", "--split", "test")
    assert (refused.returncode, refused.stderr) == (
        3,
        "hffs: cannot read owner/photos: offline, and its split test is not whole on this host; "
        "mount it once without --offline and HF_HUB_OFFLINE\n",
    )
    assert hub.requests == []


def test_regression_a_commit_that_left_the_cache_is_not_missed(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    first = photos.commit
    hffs("umount", mount("owner/photos"))
    photos.write("data/train-00001-of-00002.parquet", shard(7))
    code = "import huggingface_hub as h; h.snapshot_download('owner/photos', repo_type='dataset')"
    subprocess.run([sys.executable, "-c", code], env=hffs.environ, check=True)
    shutil.rmtree(tmp_path / "home/hub/datasets--owner--photos/snapshots" / first)
    hub.clear()
    assert _captions(mount("owner/photos", "--offline")) == ["photo 0", "photo 1", "photo 7"]
    assert hub.requests == []


def _begin_slow_mount(hub: HubServer, hffs: Hffs, folder: Path) -> subprocess.Popen[str]:
    hub.bytes_per_s = 400_000
    command = [sys.executable, "-m", "hffs", "mount", "owner/large", str(folder)]
    return subprocess.Popen(
        command, env=hffs.environ, text=True, stderr=subprocess.PIPE, start_new_session=True
    )


def _wait_for_bytes(home: Path, count: int) -> None:
    """Return when that much of a file is on disk."""
    for _ in range(2000):
        found = list(home.glob("hub/datasets--owner--large/blobs/*"))
        if found and found[0].stat().st_size >= count:
            return
        select.select([], [], [], 0.01)
    pytest.fail("nothing is downloaded")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.usefixtures("photos")
def test_a_download_that_is_killed_resumes(
    end: signal.Signals, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    whole = shard(0, noise=2_000_000)
    hub.add("owner/large").write("train.parquet", whole)
    begun = _begin_slow_mount(hub, hffs, _empty(tmp_path))
    _wait_for_bytes(tmp_path / "home", 600_000)
    hub.bytes_per_s = 40_000  # on a busy machine the end may take a while to come about
    if end == signal.SIGKILL:
        os.killpg(begun.pid, end)  # the command; its daemon and downloader have other groups
        _kill_all(tmp_path)
    else:
        os.kill(begun.pid, end)
    _, said = begun.communicate(timeout=20)
    assert begun.returncode == (-9 if end == signal.SIGKILL else 130), said
    sent = hub.sent_bytes("GET .*/resolve/.*parquet")
    hub.bytes_per_s = None  # from here on its server may write what nobody reads
    hub.clear()
    assert _captions(mount("owner/large")) == ["photo 0"]
    assert hub.sent_bytes("GET .*/resolve/.*parquet") <= len(whole) - 500_000
    assert sent < len(whole)


def _kill_all(folder: Path) -> None:
    """Kill every process of a command that names a folder, as a power cut would."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if str(folder) in command:
                os.kill(int(entry.name), signal.SIGKILL)


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a small disk")
def test_a_disk_that_is_too_small_is_told_before(
    photos: Repo, hub: HubServer, hffs: Hffs, tmp_path: Path
) -> None:
    hub.add("owner/large").write("train.parquet", shard(0, noise=3_000_000))
    hffs.environ["HF_HOME"] = str(tmp_path / "small")
    with _small_disk(tmp_path / "small", "2m"):
        refused = hffs.run("mount", "owner/large", _empty(tmp_path))
    assert refused.returncode == 5
    assert "3.0 MB needed" in refused.stderr
    assert "HF_HOME" in refused.stderr
    assert hub.sent_bytes("GET .*/resolve/.*parquet") == 0


def test_a_broken_image_costs_its_own_file_alone(photos: Repo, mount: Mount) -> None:
    broken = [{"bytes": data, "path": None} for data in (_photo(1), b"no image", _photo(2))]
    table, sink = pa.table({"image": broken, "caption": ["a", "b", "c"]}), io.BytesIO()
    pq.write_table(table, sink)
    photos.write_all({"data/train-00000-of-00002.parquet": sink.getvalue()})
    folder = mount("owner/photos")
    with pytest.raises(OSError, match="Input/output error"):
        (folder / "1.jpg").read_bytes()
    assert (folder / "0.jpg").read_bytes() == _photo(1)


def test_several_entries_of_a_hub(
    photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    entries = [
        {"id": name, "dataset_name": "owner/photos", "split": name} for name in ("train", "test")
    ]
    (tmp_path / "both.json").write_text(json.dumps(entries))
    folder = mount(tmp_path / "both.json")
    assert _captions(folder / "test") == ["photo 9"]
    assert len(_captions(folder / "train")) == 3
    hffs("umount", folder)


@pytest.mark.parametrize("kind", ["webdataset", "paths"])
def test_regression_a_cache_that_was_cleared_is_filled_again(
    kind: str, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    hffs.environ.update(hub.env(tmp_path / "home"))
    rows = b'{"file_name": "0.jpg", "caption": "photo 0"}\n'
    files = {"train.jsonl": rows, "0.jpg": _photo(0)}
    if kind == "webdataset":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in (("0.jpg", _photo(0)), ("0.txt", b"photo 0")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        files = {"0.tar": out.getvalue()}
    hub.add("owner/named").write_all(files)
    folder = mount("owner/named")
    before = hffs.describe(folder) or {}
    hffs("umount", folder)
    shutil.rmtree(tmp_path / "home")
    refused = hffs.run("mount", "owner/named", _empty(tmp_path), "--offline")
    assert refused.returncode == 3
    assert f"offline, and not on this host: {next(iter(files))}" in refused.stderr
    again = mount("owner/named")
    assert (again / "0.jpg").read_bytes() == _photo(0)
    assert (hffs.describe(again) or {})["fingerprint"] == before["fingerprint"]

"""Views that are recorded on one host and mounted on another, through the real command."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs, Mount
from tests.data.urls.server import serving_signed
from tests.far_photos import IMAGES, ROWS, photo_of, shard_of
from tests.formats import FORMATS, Case
from tests.hub import HubServer
from tests.hub_store import Repo
from tests.view.portable import Parts

pytestmark = pytest.mark.fuse

ASKS_COMMIT = r"GET /api/datasets/owner/photos/revision/[0-9a-f]{40}"


@dataclass(frozen=True)
class Host:
    """Another host: a command with caches and a Hub's cache of its own; `view` is brought to it."""

    hffs: Hffs
    folder: Path
    view: Path

    def mount(self, source: str | Path, *flags: str | Path) -> Path:
        place = self.folder / f"mnt{len(list(self.folder.glob('mnt*')))}"
        place.mkdir()
        self.hffs("mount", source, place, *flags)
        return place

    def refuse(self, source: str | Path, *flags: str | Path) -> tuple[int, str]:
        """Exit code and line of a mount that is refused."""
        (self.folder / "refused").mkdir(exist_ok=True)
        done = self.hffs.run("mount", source, self.folder / "refused", *flags)
        assert done.returncode != 0
        assert done.stderr.count("\n") == 1
        return done.returncode, done.stderr.removeprefix("hffs: ").strip()


@pytest.fixture
def host(hffs: Hffs, tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "host"
    folder.mkdir()
    environ = Hffs.below(folder).environ
    told = {name: hffs.environ[name] for name in ("HF_ENDPOINT",)}
    made = Host(Hffs(environ | told), folder, tmp_path / "v.parquet")
    yield made
    for place in folder.glob("mnt*"):
        made.hffs.run("umount", "--force", place)


def look(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Of every file its inode, time, size and bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            data = path.read_bytes()
            assert status.st_size == len(data)
            facts = (status.st_ino, status.st_mtime_ns, data)
            found[str(path.relative_to(folder))] = facts
    return found


def fingerprint(hffs: Hffs, folder: Path) -> str:
    told = hffs.describe(folder)
    assert told is not None
    return str(told["fingerprint"])


@pytest.fixture
def both(hffs: Hffs, host: Host, hub: HubServer, tmp_path: Path) -> Host:
    """The other host, where both know the Hub."""
    hffs.environ.update(hub.env(tmp_path / "home"))
    host.hffs.environ.update(hub.env(host.folder / "home"))
    return host


def test_a_view_is_the_same_on_another_host(
    photo_parquet: Path, hffs: Hffs, host: Host, mount: Mount, tmp_path: Path
) -> None:
    flags = ["--where", "width >= 300", "--metadata-jsonl"]
    folder = mount(photo_parquet, *flags)
    expected = look(folder)  # renders all, so that their sizes are recorded too
    told = json.loads(hffs("view", photo_parquet, "-o", host.view, *flags, "--json"))
    assert told == {
        "source": str(photo_parquet),
        "commit": "",
        "fingerprint": fingerprint(hffs, folder),
        "positions": len([name for name in expected if name.endswith(".jpg")]),
        "media": "image",
        "view": str(host.view),
        "size_bytes": host.view.stat().st_size,
    }
    moved = tmp_path / "moved.parquet"
    shutil.copyfile(photo_parquet, moved)
    other = host.mount(host.view, "--dataset-name", moved)
    sizes = {path.name: path.stat().st_size for path in other.iterdir()}
    assert sizes == {name: len(facts[2]) for name, facts in expected.items()}
    assert not list((host.folder / "cache").rglob("blobs/??/*"))  # none was rendered for that
    assert look(other) == expected
    assert fingerprint(host.hffs, other) == told["fingerprint"]
    names = duckdb.read_parquet(str(host.view)).project("file_name").fetchall()
    assert sorted(name for (name,) in names) == sorted(n for n in expected if n.endswith(".jpg"))


def test_nothing_is_filtered_and_no_function_called_anew(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sift.py").write_text("def keep(row):\n    return row['width'] >= 300\n")
    hffs("view", photo_parquet, "-o", "v.parquet", "--python", "sift:keep")
    Path("sift.py").unlink()
    folder = host.mount("v.parquet")
    assert os.listdir(folder)
    host.hffs("umount", folder)
    again = host.mount("v.parquet", "--shard", "1/2")
    assert "0.jpg" not in os.listdir(again)
    assert not list((host.folder / "cache").rglob("measured/*"))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "longer",
            r"has \d+ bytes, and had \d+; mount the source that was recorded, or make it ag",
        ),
        ("other", "has other content than it had; mount the source that was recorded, or make it"),
        ("gone", "cannot open .*moved.parquet: no such file; say where the source is on this host"),
        ("kind", "cannot use s3://.*: .* was recorded of a data set on a host; name one of th"),
    ],
)
def test_another_source_is_refused(
    photo_parquet: Path, hffs: Hffs, host: Host, change: str, line: str
) -> None:
    hffs("view", photo_parquet, "-o", host.view)
    moved = host.folder / "moved.parquet"
    content = bytearray(photo_parquet.read_bytes())
    if change == "longer":
        content += b"\0"
    elif change == "other":
        content[len(content) // 2] ^= 1
    if change != "gone":
        moved.write_bytes(content)
    place = "s3://art/photos.parquet" if change == "kind" else moved
    code, told = host.refuse(host.view, "--dataset-name", place)
    assert code == {"gone": 3, "kind": 2}.get(change, 5)
    assert re.search(line, told), told


def test_without_digests_times_tell(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.parquet"
    hffs("view", photo_parquet, "-o", host.view, "--no-digest")
    shutil.copy2(photo_parquet, moved)
    assert len(os.listdir(host.mount(host.view, "--dataset-name", moved)))
    os.utime(moved, (1, 1))
    code, told = host.refuse(host.view, "--dataset-name", moved)
    assert code == 5
    assert "has another time than it had, and nothing was recorded of its content; copy it" in told


def test_a_source_that_changes_later_is_refused_then(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.parquet"
    hffs("view", photo_parquet, "-o", host.view)
    shutil.copyfile(photo_parquet, moved)
    host.hffs("umount", host.mount(host.view, "--dataset-name", moved))
    content = bytearray(moved.read_bytes())
    content[len(content) // 3] ^= 1
    moved.write_bytes(content)
    code, told = host.refuse(host.view, "--dataset-name", moved)
    assert (code, "has other content than it had" in told) == (5, True)


OF_THE_HUB = [make for make in FORMATS if make.__name__ in (
    "arrow_shards", "imagefolder_csv", "imagefolder_classes", "webdataset", "webdataset_compressed",
    "jsonl_base64", "zip_deflated", "zip_stored",
)]  # fmt: skip
"""One for each way that images lie in files: as they are, in archives, in tables that are made."""


@pytest.mark.parametrize("make", OF_THE_HUB, ids=lambda make: make.__name__)
def test_formats_of_the_hub(
    make: Callable[[], Case], hffs: Hffs, both: Host, mount: Mount, hub: HubServer
) -> None:
    case, host = make(), both
    repo = hub.add("owner/photos")
    repo.write_all(case.files)
    expected = look(mount("owner/photos", *case.flags))
    hffs("view", "owner/photos", "-o", host.view, *case.flags)
    repo.write_all(dict.fromkeys(case.files, b"gone"))
    folder = host.mount(host.view)
    assert look(folder) == expected
    host.hffs("umount", folder)
    hub.clear()
    assert look(host.mount(host.view, "--offline")) == expected
    assert look(host.mount(host.view)) == expected
    assert hub.requests == []


def test_a_streamed_view_fetches_rows_alone(
    far_photos: Repo, hub: HubServer, hffs: Hffs, both: Host, mount: Mount
) -> None:
    host = both
    flags = ["--streaming", "--where", "score >= 0.25", "--orientation", "upright"]
    expected = look(mount("owner/photos", *flags))
    hffs("view", "owner/photos", "-o", host.view, *flags)
    hub.clear()
    folder = host.mount(host.view)
    assert [bool(re.fullmatch(ASKS_COMMIT, each.line)) for each in hub.requests] == [True]
    assert len(os.listdir(folder)) == len(expected)
    assert len(hub.requests) == 1
    assert (folder / "7.jpg").read_bytes() == photo_of(ROWS // 4 + 7)
    ranges = [each for each in hub.requests if re.search(IMAGES, each.line)]
    assert 1 <= len(ranges) <= 2  # where the file is, and the page
    assert hub.sent_bytes(IMAGES) < 4 * len(photo_of(ROWS))
    assert look(folder) == expected
    host.hffs("umount", folder)
    hub.clear()
    again = host.mount(host.view, "--shard", "0/3")
    assert hub.requests == []
    assert all(expected[name][1:] == facts[1:] for name, facts in look(again).items())
    assert not list((host.folder / "home").rglob("*.parquet"))


def test_streamed_files_that_nothing_pins_are_refused(
    far_photos: Repo, hub: HubServer, hffs: Hffs, both: Host
) -> None:
    hffs("view", "owner/photos", "-o", both.view, "--streaming")
    parts = Parts.of(both.view)
    shards = re.sub(rb'"etag":"[^"]*"', b'"etag":""', parts.arrays["shards"].tobytes())
    parts.write(both.view, parts.arrays | {"shards": np.frombuffer(shards, np.uint8)})
    code, told = both.refuse(both.view)
    assert (code, "nothing pins its files" in told) == (5, True)


def test_a_download_is_of_needed_files_alone(
    far_photos: Repo, hub: HubServer, hffs: Hffs, both: Host
) -> None:
    host = both
    hffs("view", "owner/photos", "-o", host.view, "--where", "score >= 0.5")
    folder = host.mount(host.view)
    assert (folder / "0.jpg").read_bytes() == photo_of(ROWS // 2)
    kept = [path.name for path in (host.folder / "home").rglob("*.parquet")]
    assert kept == ["train-00001-of-00002.parquet"]


def test_what_was_downloaded_may_be_streamed_elsewhere(
    far_photos: Repo, hub: HubServer, hffs: Hffs, both: Host, mount: Mount
) -> None:
    host = both
    expected = look(mount("owner/photos"))
    hffs("view", "owner/photos", "-o", host.view)
    hub.clear()
    folder = host.mount(host.view, "--streaming")
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {
        name: len(facts[2]) for name, facts in expected.items()
    }
    assert hub.sent_bytes(IMAGES) == 0
    assert look(folder) == expected
    assert not list((host.folder / "home").rglob("*.parquet"))


@pytest.mark.parametrize("name", ["webdataset", "imagefolder_csv", "jsonl_base64"])
def test_other_downloads_may_be_streamed_elsewhere(
    name: str, hub: HubServer, hffs: Hffs, both: Host, mount: Mount
) -> None:
    case = next(make for make in FORMATS if make.__name__ == name)()
    hub.add("owner/photos").write_all(case.files)
    expected = look(mount("owner/photos", *case.flags))
    hffs("view", "owner/photos", "-o", both.view, *case.flags)
    assert look(both.mount(both.view, "--streaming")) == expected
    found = [path for path in (both.folder / "home").rglob("*") if path.is_file()]
    assert not [path for path in found if path.suffix in (".jpg", ".tar")]


def test_a_download_that_cannot_be_streamed_is_one_line(
    hub: HubServer, hffs: Hffs, both: Host
) -> None:
    rows = pa.table({"image": [photo_of(n) for n in range(3)], "caption": list("abc")})
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    hub.add("owner/photos").write_all({"train.parquet": sink.getvalue()})
    hffs("view", "owner/photos", "-o", both.view)
    code, told = both.refuse(both.view, "--streaming")
    assert code == 5
    assert told == (
        f"cannot stream {both.view}: it was recorded of downloaded files, in which images cannot "
        "be read where they lie; leave --streaming out, or record the view with it"
    )
    hffs("view", "owner/photos", "-o", both.view, "--streaming")
    code, told = both.refuse(both.view, "--no-streaming")
    assert (code, "was recorded of a source that is read where it lies" in told) == (2, True)


def test_a_commit_that_is_gone_is_refused(
    far_photos: Repo, hub: HubServer, hffs: Hffs, both: Host
) -> None:
    host = both
    hffs("view", "owner/photos", "-o", host.view)
    hub.add("owner/others").write_all({"a.parquet": shard_of(range(3))})
    code, told = host.refuse(host.view, "--dataset-name", "owner/others")
    assert code == 3
    assert told == (
        f"cannot use view {host.view}: owner/others has no commit {far_photos.commit[:12]}; mount "
        "the source that was recorded, or make it again with hffs view"
    )
    (code, told) = host.refuse(host.view, "--offline")
    assert (code, "offline, and" in told) == (3, True)


def test_a_signed_address_is_not_recorded(hffs: Hffs, host: Host, tmp_path: Path) -> None:
    with serving_signed("/art/photos.parquet", shard_of(range(9))) as server:
        url = server.url("/art/photos.parquet", "127.0.0.1")
        hffs("view", f"{url}?X-Amz-Signature=secret", "-o", host.view)
        assert b"secret" not in host.view.read_bytes()
        code, told = host.refuse(host.view)
        assert code == 2
        assert told.endswith(
            f"it names an address that is not https; give it: --dataset-name {url}"
        )
        code, told = host.refuse(host.view, "--dataset-name", url)
        assert (code, "403" in told) == (3, True)
        asked = len(server.asked)
        signed = f"{url}?X-Amz-Signature=secret-of-tomorrow"
        folder = host.mount(host.view, "--dataset-name", signed)
        assert len(server.asked) == asked + 1
        assert (folder / "7.jpg").read_bytes() == photo_of(7)
        host.hffs("umount", folder)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--where", "true"],
            "cannot use --where: VIEW is a view that is recorded; make another one",
        ),
        (["--image-format", "png"], "cannot use --image-format: VIEW is a view that is recorded"),
        (["--split", "test"], "cannot use --split: VIEW is a view that is recorded"),
        (["--entry", "a"], "cannot use --entry a: VIEW is a data set, not a file with entries"),
        (["--shard", "9/9"], '--shard: "9/9" is not RANK/WORLD'),
    ],
)
def test_what_would_change_a_view_is_refused(
    photo_parquet: Path, hffs: Hffs, host: Host, flags: list[str], line: str
) -> None:
    hffs("view", photo_parquet, "-o", host.view)
    code, told = host.refuse(host.view, *flags)
    assert code == 2
    assert line.replace("VIEW", str(host.view)) in told


def test_a_recipe_is_recorded_and_a_layer_is_of_the_host(
    photo_parquet: Path, hffs: Hffs, host: Host
) -> None:
    hffs("view", photo_parquet, "-o", host.view)
    assert host.refuse(host.view, "--for", "kohya") == (
        2,
        f"cannot use --for kohya: {host.view} was recorded without --caption-extension caption; "
        "record it with hffs view --for kohya",
    )
    hffs("view", photo_parquet, "-o", host.view, "--for", "kohya", "--name-width", "5")
    folder = host.mount(host.view, "--for", "kohya")
    assert {"00000.jpg", "00000.caption"} <= set(os.listdir(folder))
    (folder / "00000_0512x0512_sd.npz").write_bytes(b"latents")
    host.hffs("umount", folder)
    again = host.mount(host.view, "--for", "kohya")
    assert (again / "00000_0512x0512_sd.npz").read_bytes() == b"latents"
    host.hffs("umount", again)
    assert "00000_0512x0512_sd.npz" not in os.listdir(host.mount(host.view))


def test_a_view_is_warmed_and_not_inspected(photo_parquet: Path, hffs: Hffs, host: Host) -> None:
    hffs("view", photo_parquet, "-o", host.view)
    warmed = json.loads(host.hffs("warm", host.view, "--json"))
    assert warmed["images"] == pq.read_metadata(host.view).num_rows
    done = host.hffs.run("inspect", host.view)
    assert done.returncode == 2
    assert done.stderr == (
        f"hffs: cannot inspect {host.view}: it is a view that is decided; inspect its source, or "
        "open it as any Parquet\n"
    )


def test_a_view_is_an_entry_among_others(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    hffs("view", photo_parquet, "-o", host.view, "--where", "width >= 300")
    entries = [
        {"id": "a", "dataset_name": str(host.view)},
        {"id": "b", "dataset_name": str(photo_parquet)},
    ]
    (tmp_path / "both.json").write_text(json.dumps(entries))
    folder = host.mount(tmp_path / "both.json")
    assert len(os.listdir(folder / "a")) < len(os.listdir(folder / "b"))
    host.hffs("umount", folder)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("v.json", "its name does not end in .parquet; name it v.parquet"),
        ("none/v.parquet", "there is no folder .*/none that can be written to; name another file"),
        ("set/v.parquet", "it would be a part of the data set; name another file"),
        ("there.parquet", "it is there, and is no view; name another file, or say --force"),
        ("folder.parquet", "it is no plain file; name another file"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    photo_parquet: Path, hffs: Hffs, tmp_path: Path, output: str, line: str
) -> None:
    (tmp_path / "set").mkdir()
    shutil.copy(photo_parquet, tmp_path / "set/a.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "there.parquet")
    (tmp_path / "folder.parquet").mkdir()
    done = hffs.run("view", tmp_path / "set", "-o", tmp_path / output)
    assert done.returncode == 2
    assert re.fullmatch(f"hffs: cannot write the view to .*: {line}\n", done.stderr)
    if output.startswith("set/"):
        done = hffs.run("view", tmp_path / "set/*.parquet", "-o", tmp_path / output)
        assert "it would be a part of the data set" in done.stderr
    if output == "there.parquet":
        hffs("view", tmp_path / "set", "-o", tmp_path / output, "--force")
        hffs("view", tmp_path / "set", "-o", tmp_path / output)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_full_disk_leaves_the_file_that_was_there(
    photo_parquet: Path, hffs: Hffs, tmp_path: Path
) -> None:
    path = tmp_path / "v.parquet"
    hffs("view", photo_parquet, "-o", path)
    before = path.read_bytes()
    limit = len(before) // 2  # a file may not grow beyond that; SIGXFSZ is ignored by Python
    command = f'ulimit -f {limit // 1024}; exec "$0" "$@"'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, "-m", "hffs", "view", photo_parquet, "-o", path],
        env=hffs.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"hffs: cannot write the view to {path}: File too large\n"
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("*v.parquet*")] == ["v.parquet"]


def test_what_cannot_be_recorded_is_one_line(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    hffs("view", photo_parquet, "-o", host.view)
    entries = [{"id": n, "dataset_name": str(photo_parquet)} for n in "ab"]
    (tmp_path / "both.json").write_text(json.dumps(entries))
    for source, flags, line in (
        (host.view, [], f"cannot record {host.view}: it is a view that is recorded; copy the file"),
        (
            photo_parquet,
            ["--shard", "0/2"],
            "cannot use --shard 0/2: a view is recorded whole; give",
        ),
        (tmp_path / "both.json", [], "it has several entries: a, b; choose one by --entry ID"),
        (photo_parquet, ["--where", "width < 0"], "nothing is left of"),
    ):
        done = hffs.run("view", source, "-o", tmp_path / "w.parquet", *flags)
        assert done.returncode in (2, 5)
        assert line in done.stderr
        assert done.stderr.count("\n") == 1
    hffs("view", tmp_path / "both.json", "--entry", "b", "-o", tmp_path / "w.parquet")
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["v.parquet", "w.parquet"]


def test_where_the_source_is_not_is_said(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    shutil.copy(photo_parquet, tmp_path / "set/a.parquet")
    fix = "say where the source is on this host: --dataset-name PATH"
    hffs("view", photo_parquet, "-o", host.view)
    absent = tmp_path / "set/other.parquet"
    for name, why in ((absent, "no such file"), (tmp_path / "set", "it is no file")):
        told = host.refuse(host.view, "--dataset-name", name)
        assert told == (3, f"cannot open {name}: {why}; {fix}")
    hffs("view", tmp_path / "set", "-o", host.view)
    (tmp_path / "set").rename(tmp_path / "moved")
    told = host.refuse(host.view)
    assert told == (3, f"cannot open {tmp_path / 'set'}: no such folder; {fix}")
    assert host.refuse(host.view, "--dataset-name", "some/where")[1] == (
        f"cannot open some/where: no such folder; {fix}"
    )
    assert os.listdir(host.mount(host.view, "--dataset-name", tmp_path / "moved"))


def test_a_view_among_the_files_of_a_data_set_is_named(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    shutil.copy(photo_parquet, tmp_path / "set/a.parquet")
    hffs("view", tmp_path / "set/a.parquet", "-o", tmp_path / "set/v.parquet")
    assert host.refuse(tmp_path / "set") == (
        5,
        f"cannot use {tmp_path / 'set'}: v.parquet is no part of it: hffs view wrote it; move it "
        "elsewhere",
    )


def test_a_config_file_that_names_a_view_is_told_where_its_source_is(
    photo_parquet: Path, hffs: Hffs, host: Host, tmp_path: Path
) -> None:
    moved, config = tmp_path / "moved.parquet", tmp_path / "one.json"
    hffs("view", photo_parquet, "-o", tmp_path / "v.view.parquet", "--where", "width >= 300")
    view = (tmp_path / "v.view.parquet").rename(tmp_path / "v.view")  # by its content, not its name
    shutil.copy(photo_parquet, moved)
    config.write_text(json.dumps({"dataset_name": str(view)}))
    folder = host.mount(config, "--dataset-name", moved)
    assert len(os.listdir(folder)) == 2 * pq.read_metadata(view).num_rows


def test_what_a_view_was_recorded_with_may_be_said_again(
    photo_parquet: Path, hffs: Hffs, host: Host
) -> None:
    flags = ["--image-count", "4"]
    hffs("view", photo_parquet, "-o", host.view, *flags)
    assert os.listdir(host.mount(host.view, *flags, "--select-index", "0", "--num-proc", "1"))
    assert host.refuse(host.view, "--select-index", "1")[0] == 2

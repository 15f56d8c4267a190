"""`hffs bucket` through the real command: folders, mounts, config files, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.command import Hffs, Mount
from tests.view.conftest import encode, write_set
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

SIZES = [(64, 64), (96, 64), (64, 96), (128, 64), (64, 64), (90, 60)]


def write_folder(folder: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> Path:
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        (folder / f"{number}.jpg").write_bytes(encode("JPEG", number, size))
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return folder


def write_photos(path: Path) -> Path:
    captions = [f"picture {number}" for number in range(len(SIZES))]
    images = [encode("JPEG", number, size) for number, size in enumerate(SIZES)]
    return write_set(path, images, caption=captions)


FLAGS = ("--resolution", "64", "--aspect-bucket-alignment", "16", "--train-batch-size", "1")


def plan(hffs: Hffs, *arguments: str | Path) -> Any:
    return json.loads(hffs("bucket", *arguments, *FLAGS, "--json"))


def buckets(facts: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [(each["width"], each["height"], each["images"]) for each in facts["buckets"]]


EXPECTED = [(48, 80, 1), (64, 64, 2), (80, 48, 2), (96, 48, 1)]


def test_a_folder_and_a_mount_of_the_same_images_have_the_same_plan(
    hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    folder = plan(hffs, write_folder(tmp_path / "photos"))
    mounted = plan(hffs, mount(write_photos(tmp_path / "photos.parquet")))
    assert buckets(folder) == buckets(mounted) == EXPECTED
    assert folder["scan"]["fingerprint"] == mounted["scan"]["fingerprint"]
    assert folder["totals"]["batches"] == len(SIZES)
    tables = [pq.read_table(facts["files"][-1]) for facts in (folder, mounted)]
    assert tables[0].equals(tables[1])


def test_the_table_says_what_json_does(hffs: Hffs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "cut.tif").write_bytes(encode("TIFF")[:60])
    hffs.environ["COLUMNS"] = "120"
    done = hffs.run("bucket", folder, *FLAGS)
    assert (done.returncode, done.stderr) == (0, "")  # Pillow has no say
    shown = done.stdout
    for width, height, images in EXPECTED:
        assert any(
            line.split()[:3] == [f"{width}", "x", f"{height}"] and f" {images} " in line
            for line in shown.splitlines()
        )
    assert "bad.jpg" in shown
    facts = plan(hffs, folder)
    assert (facts["scan"]["read"], facts["scan"]["unreadable"]) == (6, 2)
    assert [problem["name"] for problem in facts["scan"]["problems"]] == ["bad.jpg", "cut.tif"]


def test_entries_of_a_file_are_folders_and_mounts_for_the_while(hffs: Hffs, tmp_path: Path) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    folder = write_folder(tmp_path / "pictures", SIZES[:3])
    config = tmp_path / "loader.json"
    config.write_text(
        json.dumps(
            [
                {"id": "set", "dataset_name": str(source), "probability": 0.7},
                {"id": "folder", "type": "local", "instance_data_dir": str(folder),
                 "probability": 0.3, "caption_column": "x"},
                {"id": "texts", "type": "local", "dataset_type": "text_embeds"},
            ]
        )
    )  # fmt: skip
    done = hffs.run("bucket", config, *FLAGS, "--json")
    assert done.stderr.splitlines() == [
        "hffs: not planned: texts (its dataset_type is text_embeds)",
        "hffs: caption_column has no effect: entry folder is a folder",
    ]
    first, second = json.loads(done.stdout)
    assert (first["id"], second["id"]) == ("set", "folder")
    assert (first["scan"]["folder"], second["scan"]["folder"]) == (str(source), str(folder))
    assert [first["settings"]["probability"], second["settings"]["probability"]] == [0.7, 0.3]
    assert buckets(first) == EXPECTED
    assert str(source) not in hffs("ls", "--json")
    paths = json.loads(Path(first["files"][1]).read_text())
    assert sorted(paths) == [f"{number}.jpg" for number in range(len(SIZES))]  # nobody said where
    one = plan(hffs, config, "--entry", "folder")
    assert one["id"] == "folder"


def test_data_sets_of_a_file_may_be_mounted_already(hffs: Hffs, tmp_path: Path) -> None:
    sources = [write_photos(tmp_path / f"{name}.parquet") for name in ("a", "b")]
    config = tmp_path / "loader.json"
    entries = [{"id": source.stem, "dataset_name": str(source)} for source in sources]
    config.write_text(json.dumps(entries))
    (tmp_path / "all").mkdir()
    hffs("mount", config, tmp_path / "all")
    try:
        shown = plan(hffs, config, "--mounted", tmp_path / "all")
        assert [facts["scan"]["folder"] for facts in shown] == [
            str(tmp_path / "all/a"), str(tmp_path / "all/b")
        ]  # fmt: skip
        paths = json.loads(Path(shown[1]["files"][1]).read_text())
        assert f"{tmp_path}/all/b/0.jpg" in paths
        one = plan(hffs, config, "--entry", "b", "--mounted", tmp_path / "all")
        assert one["scan"]["folder"] == str(tmp_path / "all/b")
        assert one["scan"]["read"] == len(SIZES)
    finally:
        hffs("umount", tmp_path / "all")


def test_a_page_shows_the_plan(hffs: Hffs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    done = hffs.run("bucket", folder, *FLAGS, "--report", tmp_path / "page.html")
    assert done.returncode == 0
    assert f"hffs: wrote {tmp_path}/page.html" in done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "data:image/jpeg" in page
    assert "picture" in page  # of the captions
    refused = hffs.run("bucket", folder, "--report", tmp_path / "none/page.html")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no folder" in refused.stderr


def test_files_for_simpletuner_go_beside_the_images_where_that_can_be(
    hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    refused = hffs.run("bucket", mount(source), *FLAGS, "--beside")
    assert refused.returncode == 5
    assert "mount with --scratch DIR" in refused.stderr
    assert refused.stdout == ""
    layer = mount(source, "--scratch", tmp_path / "layer")
    hffs("bucket", layer, *FLAGS, "--beside", "--id", "mine")
    kept = json.loads((layer / "aspect_ratio_bucket_indices_mine.json").read_text())
    paths = [path for paths in kept["aspect_ratio_bucket_indices"].values() for path in paths]
    assert sorted(paths) == [f"{layer}/{number}.jpg" for number in range(len(SIZES))]
    assert plan(hffs, layer)["scan"]["read"] == len(SIZES)  # they are no images


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["photos", "--min-width", "3"], 2, "cannot use --min-width: "),
        (["photos", "--entry", "x"], 2, "cannot use --entry x: "),
        (["photos", "--resolution", "1"], 2, "cannot use resolution 1: "),
        (["photos", "--resolution", "0"], 2, "--resolution: "),
        (["photos", "--minimum-image-size", "999"], 5, "nothing to train on in "),
        (["empty"], 5, "no images in "),
        (["nowhere"], 3, "cannot open nowhere: no such file or folder"),
        (["videos.json"], 2, "only images have buckets: "),
        (["gone.json"], 3, "No such file or directory"),
        (["gone.json", "--mounted", "photos"], 2, "cannot use --mounted photos: nothing is"),
        (
            ["sets.json", "--mounted", "photos"],
            2,
            "cannot use --mounted photos: there is no folder",
        ),
        (["sets.json", "--beside"], 2, "cannot write beside the images of a: it is mounted only"),
        (["photos", "--report", "/dev/null"], 2, "cannot write the page to /dev/null: it is no"),
        (["photos", "--resolution", "100000"], 2, "it is an edge, of at most 32768 pixels"),
        (["photos", "--repeats", "1000000000"], 2, "cannot make batches: an epoch has at most"),
        (["photos", "--world", "9000000"], 2, "cannot use world 9000000: it is at most"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    hffs: Hffs, tmp_path: Path, arguments: list[str], code: int, line: str
) -> None:
    write_folder(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    videos = {"id": "v", "dataset_name": "x.parquet", "dataset_type": "video"}
    (tmp_path / "videos.json").write_text(json.dumps([videos]))
    gone = {"id": "g", "type": "local", "instance_data_dir": str(tmp_path / "gone")}
    (tmp_path / "gone.json").write_text(json.dumps([gone]))
    sets = [{"id": name, "dataset_name": f"{name}.parquet"} for name in "ab"]
    (tmp_path / "sets.json").write_text(json.dumps(sets))
    command = [sys.executable, "-m", "hffs", "bucket", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, env=hffs.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert line in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def list_mounts(folder: Path) -> list[str]:
    """Mount points below a folder."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{folder}/")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_it_leaves_no_mount(hffs: Hffs, tmp_path: Path, number: int) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    hffs.environ["TMPDIR"] = str(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "hffs", "bucket", source, *FLAGS],
        env=hffs.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: bool(list_mounts(tmp_path)) or process.poll() is not None)
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_until(lambda: not list_mounts(tmp_path))
    if number != signal.SIGKILL:
        assert process.returncode in (0, 130)
        assert list(tmp_path.glob("hffs-*")) == []


def test_a_daemon_that_was_killed_leaves_no_mount(hffs: Hffs, tmp_path: Path) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    hffs.environ["TMPDIR"] = str(tmp_path)
    code = """
import os, signal, sys
from hffs.cli.mounting import mounting
from hffs.config import build_config
from hffs.mount.registry import Registry, find_state_folder
config = build_config(sys.argv[1], {"scratch": sys.argv[2]}, None, os.environ)
with mounting([config]) as places:
    (place,) = places.values()
    assert (place / "0.jpg").is_file()
    os.kill(Registry(find_state_folder(os.environ)).find(str(place)).pid, signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "layer")]
    subprocess.run(command, env=hffs.environ, check=True, timeout=60)
    assert list_mounts(tmp_path) == []
    assert list(tmp_path.glob("hffs-*")) == []
    assert not (tmp_path / "layer").exists()  # what is mounted meanwhile has none


def test_names_of_folders_are_their_ids_however_they_are_named(hffs: Hffs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a/photos")
    for named, cwd in (("a/photos", tmp_path), (".", folder), (str(folder), tmp_path)):
        done = subprocess.run(
            [sys.executable, "-m", "hffs", "bucket", named, *FLAGS, "--json"],
            cwd=cwd, env=hffs.environ, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["id"] == "photos"
    write_folder(tmp_path / "b/photos")
    done = hffs.run("bucket", tmp_path / "b/photos", *FLAGS)
    assert f"the files of {folder}, whose id is photos too, were replaced" in done.stderr


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-", "| head -c 1 > /dev/null"])
def test_where_results_cannot_go_is_no_traceback(
    hffs: Hffs, tmp_path: Path, redirection: str
) -> None:
    folder = write_folder(tmp_path / "photos")
    command = ["sh", "-c", f"{sys.executable} -m hffs bucket {folder} {redirection}"]
    done = subprocess.run(command, env=hffs.environ, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert ("cannot write to standard output" in done.stderr) == ("full" in redirection)


def test_a_cache_that_cannot_be_written_does_not_hide_the_plan(hffs: Hffs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    (tmp_path / "cache/hffs").mkdir(parents=True)
    (tmp_path / "cache/hffs/huggingface_metadata").mkdir()
    (tmp_path / "cache/hffs/huggingface_metadata/photos").mkdir()
    (tmp_path / "cache/hffs/huggingface_metadata/photos/buckets_photos.parquet").mkdir()
    done = hffs.run("bucket", folder, *FLAGS, "--json")
    assert done.returncode == 0
    assert buckets(json.loads(done.stdout)) == EXPECTED
    assert "cannot write" in done.stderr

"""`hffs cache` of data sets and mounts: a view that changes keeps what is still in it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.cached import TEXT, VAE, cache, count, read_store
from tests.command import Hffs, Mount
from tests.mount.test_bucket import SIZES, list_mounts, write_folder, write_photos
from tests.train.caching.runs import digest_store
from tests.view.conftest import encode, write_set

pytestmark = pytest.mark.fuse

CENTERED = (*VAE, "--crop-style", "center")


def write_rows(path: Path, numbers: Iterable[int]) -> Path:
    """A data set of some pictures; the same number is the same picture."""
    known = list(numbers)
    images = [encode("JPEG", number, SIZES[number % len(SIZES)]) for number in known]
    captions = [f"picture {number}" for number in known]
    return write_set(path, images, caption=captions, number=known)


def check_like_new(hffs: Hffs, store: Path, fresh: Path, *arguments: str | Path) -> None:
    """What a store has of a view is, byte for byte, what one has that never had another."""
    whole = cache(hffs, *arguments, "--output", fresh)
    wanted, kept = read_store(whole["store"]), read_store(store)
    assert len(wanted) == whole["planned"]
    assert {key: kept.get(key) for key in wanted} == wanted


def test_a_data_set_is_mounted_meanwhile(hffs: Hffs, tmp_path: Path) -> None:
    hffs.environ["TMPDIR"] = str(tmp_path)
    source = write_photos(tmp_path / "photos.parquet")
    first = cache(hffs, "vae", source, *VAE)
    assert (count(first), first["id"]) == ((6, 0, 6), "photos.parquet")
    assert count(cache(hffs, "vae", source, *VAE)) == (6, 6, 0)
    assert count(cache(hffs, "text", source, *TEXT)) == (7, 0, 7)
    shown = [line["mountpoint"] for line in json.loads(hffs("ls", "--json"))]
    assert not any(Path(each).is_relative_to(tmp_path) for each in shown)  # others have theirs
    assert (list_mounts(tmp_path), list(tmp_path.glob("hffs-*"))) == ([], [])


def test_a_mount_a_view_file_and_the_data_set_meet_each_others_tensors(
    hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    config = tmp_path / "loader.json"
    config.write_text(json.dumps([{"id": "photos", "dataset_name": str(source)}]))
    view = tmp_path / "view.parquet"
    hffs("view", source, "--output", view, "--id", "photos")
    first = cache(hffs, "vae", source, *VAE, "--id", "photos")
    assert count(first) == (6, 0, 6)
    kept = digest_store(Path(first["store"]))
    folder = mount(source)
    for known in (
        cache(hffs, "vae", folder, *VAE, "--id", "photos"),
        cache(hffs, "vae", view, *VAE, "--id", "photos"),
        cache(hffs, "vae", config, *VAE, "--mounted", folder),
    ):
        assert (count(known), known["store"]) == ((6, 6, 0), first["store"])
    assert digest_store(Path(first["store"])) == kept


def test_entries_of_a_file_are_data_sets_and_folders(hffs: Hffs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", SIZES[:3])
    entries = [
        {"id": "set", "dataset_name": str(write_photos(tmp_path / "photos.parquet"))},
        {"id": "folder", "type": "local", "instance_data_dir": str(folder)},
    ]
    config = tmp_path / "loader.json"
    config.write_text(json.dumps(entries))
    both = cache(hffs, "vae", config, *VAE, "--output", tmp_path / "out")
    assert [(facts["id"], count(facts)) for facts in both] == [
        ("set", (6, 0, 6)), ("folder", (3, 0, 3))
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out/vae").iterdir()) == ["folder", "set"]


def test_a_view_that_changes_keeps_what_is_still_in_it(hffs: Hffs, tmp_path: Path) -> None:
    """Crops are in the middle: where they are left to chance, that goes by the name of a file."""
    data = tmp_path / "photos"
    data.mkdir()
    write_rows(data / "b.parquet", range(5))
    config = tmp_path / "loader.json"

    def encode_view(*flags: str, files: str | list[str] = "*.parquet") -> tuple[int, int, int]:
        entry = {"id": "photos", "dataset_name": str(data), "data_files": files}
        config.write_text(json.dumps([entry]))
        asked: tuple[str | Path, ...] = ("vae", config, *CENTERED, *flags)
        facts = cache(hffs, *asked)
        fresh = tmp_path / f"fresh{len(list(tmp_path.glob('fresh*')))}"
        check_like_new(hffs, Path(facts["store"]), fresh, *asked)
        found: tuple[int, int, int] = count(facts)
        return found

    assert encode_view("--where", "number > 2") == (2, 0, 2)
    assert encode_view("--where", "number IN (1, 3)") == (2, 1, 1)
    assert encode_view() == (5, 3, 2)
    write_rows(data / "a.parquet", range(5, 8))  # before the other: every row is somewhere else
    assert encode_view() == (8, 5, 3)
    assert encode_view(files=["b.parquet", "a.parquet"]) == (8, 8, 0)
    pruned = cache(hffs, "prune", config, *CENTERED, "--where", "number < 2")
    assert pruned["removed"] > 0
    assert encode_view("--where", "number < 2") == (2, 2, 0)


def test_a_source_that_was_written_anew_is_encoded_anew(hffs: Hffs, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "photos.parquet", range(4))
    first = cache(hffs, "vae", source, *VAE)
    write_rows(source, reversed(range(4)))
    again = cache(hffs, "vae", source, *VAE)
    assert count(again) == (4, 0, 4)
    check_like_new(hffs, Path(first["store"]), tmp_path / "fresh", "vae", source, *VAE)


def test_kohya_finds_what_is_exported_into_the_layer_of_a_mount(
    hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    grid = (
        *VAE, "--aspect-bucket-generator", "grid", "--aspect-bucket-min-edge", "32", "--crop",
        "--crop-aspect", "preserve", "--crop-style", "center",
    )  # fmt: skip
    asked = ("kohya", source, *grid, "--model", "sd")
    cache(hffs, "vae", source, *grid)
    done = hffs.run("cache", "export", *asked)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "it is mounted only meanwhile; mount it, and say where: --mounted" in done.stderr
    done = hffs.run("cache", "export", *asked, "--mounted", mount(source))
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert "it cannot be written to; mount with --scratch DIR" in done.stderr
    place = mount(source, "--scratch", tmp_path / "layer")
    before = {path.name for path in place.iterdir()}
    first = cache(hffs, "export", *asked, "--mounted", place)
    assert (first["written"], first["unchanged"], first["missing"]) == (6, 0, 0)
    assert first["settings"]["resolution"] == 64
    written = {path.name for path in place.iterdir()} - before
    assert sorted(written)[:2] == ["0_0064x0064_sd.npz", "1_0096x0064_sd.npz"]
    stamps = {name: (place / name).stat().st_mtime_ns for name in written}
    again = cache(hffs, "export", *asked, "--mounted", place)
    assert (again["written"], again["unchanged"]) == (0, 6)
    assert {name: (place / name).stat().st_mtime_ns for name in written} == stamps
    shown = hffs("cache", "export", *asked, "--mounted", place)
    assert "right already  6" in shown


_OPEN = """
import os, pickle, sys
from hffs.cli.caching.entries import open_files, opening_entries
from hffs.cli.caching.options import Place
with opening_entries(sys.argv[1], {}, Place(), travels=True) as (entry,):
    files = open_files(entry)
    names = sorted(os.listdir(entry.folder.now))
    read = {name: (entry.folder.now / name).read_bytes() for name in names}
sys.stdout.buffer.write(pickle.dumps((files, read)))
"""


def test_what_travels_needs_no_mount(hffs: Hffs, tmp_path: Path) -> None:
    source = write_photos(tmp_path / "photos.parquet")
    command = [sys.executable, "-c", _OPEN, str(source)]
    done = subprocess.run(command, env=hffs.environ, stdout=subprocess.PIPE, check=True)
    files, read = pickle.loads(done.stdout)  # noqa: S301 - of our own
    assert len(read) == 2 * len(SIZES)
    with files() as opened:
        assert {name: opened.read(name) for name in read} == read

"""What names images for caches, through real mounts: the same image has one name in any of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.train.caching.identities import identify_images
from tests.command import Hffs, Mount
from tests.far_photos import photo_of, shard_of
from tests.formats import Case, imagefolder_csv, webdataset
from tests.hub import HubServer
from tests.train.plans import make_plan, make_scan

pytestmark = pytest.mark.fuse

PHOTOS = [photo_of(seed) for seed in range(8)]
Found = dict[bytes, str]


def write_shard(path: Path, first: int, stop: int) -> None:
    images = [{"bytes": photo, "path": None} for photo in PHOTOS[first:stop]]
    table = pa.table(
        {
            "image": images,
            "caption": [f"photo {n}" for n in range(first, stop)],
            "n": [*range(first, stop)],
        }
    )
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, compression="none", use_dictionary=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_shard(tmp_path / "set/train-0.parquet", 0, 5)
    return tmp_path / "set"


def told(folder: Path) -> Found:
    """What the attribute says of each image, by its bytes."""
    files = [path for path in folder.rglob("*.jpg") if path.is_file()]
    found = {path.read_bytes(): os.getxattr(path, "user.hffs.image").decode() for path in files}
    assert len(set(found.values())) == len(files) > 0
    return found


def identified(folder: Path) -> Found:
    """What `identify_images` says of each image, by its bytes."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    found = identify_images(
        make_plan(make_scan(folder, names, [(600, 600)] * len(names))), lambda done, total: None
    )
    for image, name in enumerate(names):
        status = (folder / name).stat()
        assert (found.sizes[image], found.mtimes[image]) == (status.st_size, status.st_mtime_ns)
    return {
        (folder / name).read_bytes(): found.digest(image).hex() for image, name in enumerate(names)
    }


def test_filters_names_and_growth_leave_an_image_its_name(
    source: Path, mount: Mount, hffs: Hffs
) -> None:
    folder = mount(source)
    before, keys = told(folder), identified(folder)
    assert set(before) == set(keys) == set(PHOTOS[:5])
    part = mount(source, "--where", "n % 2 = 1", "--names", "row")
    write_shard(source / "train-1.parquet", 5, 8)
    grown = mount(source, "--max-num-samples", "7", "--seed", "5")
    for other in (part, grown):
        assert all(before[photo] == name for photo, name in told(other).items() if photo in before)
        assert all(keys[photo] == key for photo, key in identified(other).items() if photo in keys)
    assert len(told(grown)) == 7


def test_tiles_are_images_of_their_own(source: Path, mount: Mount) -> None:
    grid = ["--image-count", "2"]
    both = mount(source, *grid, "--select-index", "all")
    one = mount(source, *grid, "--select-index", "1", "--where", "n > 1")
    assert told(one).items() < told(both).items()
    assert not set(told(both).values()) & set(told(mount(source)).values())


def test_a_layer_tells_what_was_changed_in_it(source: Path, mount: Mount, tmp_path: Path) -> None:
    plain = identified(mount(source))
    layered = mount(source, "--scratch", tmp_path / "scratch")
    assert identified(layered) == plain
    (layered / "0.jpg").write_bytes(PHOTOS[7])
    (layered / "new.jpg").write_bytes(PHOTOS[6])
    status = (layered / "1.jpg").stat()
    os.utime(layered / "1.jpg", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = identified(layered)
    assert {photo for photo in plain if after.get(photo) == plain[photo]} == set(PHOTOS[2:5])
    assert len(set(after.values()) | set(plain.values())) == len(plain) + 3


def test_a_tree_with_a_mount_in_it_and_a_link_to_one(
    source: Path, mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    alone = mount(source)
    tree = tmp_path / "tree"
    (tree / "of").mkdir(parents=True)
    (tree / "own.jpg").write_bytes(PHOTOS[6])
    (tree / "link.jpg").symlink_to(alone / "3.jpg")
    hffs("mount", source, tree / "of", "--where", "n < 3")
    try:
        found, own = identified(tree), identified(alone)
        assert {photo for photo in found if found[photo] == own.get(photo)} == set(PHOTOS[:4])
        assert set(found) == {*PHOTOS[:4], PHOTOS[6]}
    finally:
        hffs("umount", tree / "of")


@pytest.mark.parametrize("flags", [[], ["--streaming"]])
def test_shards_that_a_repository_keeps_keep_their_images(
    hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path, flags: list[str]
) -> None:
    repo = hub.add("owner/photos")
    hffs.environ.update(hub.env(tmp_path / "home"))
    repo.write_all({"data/train-00000-of-00001.parquet": shard_of(range(6))})
    before = told(mount("owner/photos", *flags))
    repo.remove("data/train-00000-of-00001.parquet")
    halves = {"data/train-00000-of-00002.parquet": shard_of(range(6))}
    repo.write_all(halves | {"data/train-00001-of-00002.parquet": shard_of(range(6, 9))})
    after = told(mount("owner/photos", *flags))
    assert (len(before), len(after)) == (6, 9)
    assert before.items() < after.items()


@pytest.mark.parametrize(
    ("make", "flags"),
    [(imagefolder_csv, []), (imagefolder_csv, ["--streaming"]), (webdataset, [])],
)
def test_files_and_archives_that_a_repository_keeps_keep_their_images(
    hub: HubServer, hffs: Hffs, mount: Mount, make: Callable[[], Case], flags: list[str]
) -> None:
    case, repo = make(), hub.add("owner/photos")
    hffs.environ.update(hub.env(Path(hffs.environ["HF_HOME"])))
    repo.write_all(case.files)
    before = told(mount("owner/photos", *flags, *case.flags))
    repo.write("README.md", b"# Another commit\n")
    assert told(mount("owner/photos", *flags, *case.flags)) == before

"""The writable layer over a mount: what is written stays, and what is mounted stays what it is."""

import fcntl
import json
import mmap
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hffs.mount.detaching import detach
from hffs.mount.mountinfo import find_mount
from tests.command import Hffs, Mount
from tests.mount.nobody import NOBODY, Nobody, open_device, open_nobody
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _layer(hffs: Hffs, folder: Path) -> Path:
    described = hffs.describe(folder)
    assert described is not None
    return Path(described["scratch"])


def _write_as_trainers_do(folder: Path) -> None:
    """Latents beside the images, a metadata file renamed into place, a database, a mapped table."""
    (folder / "0_0512x0512_sd.npz").write_bytes(b"latents")
    (folder / ".aitk_size.json").write_text("{}")
    handle, name = tempfile.mkstemp(dir=folder)
    os.write(handle, b'{"1.0": ["0.jpg"]}')
    os.fsync(handle)
    os.close(handle)
    os.rename(name, folder / "aspect_ratio_bucket_indices_set.json")
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    cache = folder / "cache/model"
    cache.mkdir(parents=True)
    database = sqlite3.connect(cache / "metadata.db")
    database.execute("pragma journal_mode=wal")
    database.execute("create table latents (name text)")
    database.execute("insert into latents values ('0.jpg')")
    database.commit()
    with (cache / "table.arrow").open("w+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(3 * mmap.PAGESIZE)
        with mmap.mmap(file.fileno(), 0) as table:
            table[-5:] = b"arrow"
            table.flush()
    # Still open: what another connection sees has gone through the log and its shared memory.
    assert _read_database(cache / "metadata.db") == [("0.jpg",)]
    database.close()


def _read_database(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("select name from latents").fetchall()


def _expect_what_trainers_wrote(folder: Path) -> None:
    assert (folder / "0_0512x0512_sd.npz").read_bytes() == b"latents"
    assert (folder / ".aitk_size.json").read_text() == "{}"
    indices = (folder / "aspect_ratio_bucket_indices_set.json").read_text()
    assert json.loads(indices) == {"1.0": ["0.jpg"]}
    assert _read_database(folder / "cache/model/metadata.db") == [("0.jpg",)]
    assert (folder / "cache/model/table.arrow").read_bytes().endswith(b"\0arrow")


def test_what_trainers_write_is_there_after_a_remount_and_the_data_set_unchanged(
    photo_parquet: Path, hffs: Hffs, mount: Mount, folder: Path, scratch: Path
) -> None:
    plain = _contents(mount(photo_parquet))
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    assert _contents(folder) == plain
    _write_as_trainers_do(folder)
    (folder / "0.txt").unlink()
    (folder / "1.txt").write_text("another caption")
    hffs("umount", folder)
    assert list(folder.iterdir()) == []

    again = mount(photo_parquet, "--scratch", scratch)
    _expect_what_trainers_wrote(again)
    assert not (again / "0.txt").exists()
    assert (again / "1.txt").read_text() == "another caption"
    assert (again / "2.jpg").read_bytes() == plain["2.jpg"]
    # What was written, and nothing but that, lies in a folder of this host.
    upper = _layer(hffs, again) / "upper"
    assert (upper / "0_0512x0512_sd.npz").read_bytes() == b"latents"
    assert not (upper / "2.jpg").exists()
    # The mount itself is as it was, for every other reader.
    assert _contents(_layer(hffs, again) / "lower") == plain
    assert _contents(mount(photo_parquet)) == plain


def test_another_view_has_an_empty_layer_of_its_own(
    photo_parquet: Path, hffs: Hffs, mount: Mount, scratch: Path
) -> None:
    whole = mount(photo_parquet, "--scratch", scratch)
    (whole / "0.npz").write_bytes(b"of the whole view")
    part = mount(photo_parquet, "--scratch", scratch, "--min-width", "300")
    assert not (part / "0.npz").exists()
    (part / "0.npz").write_bytes(b"of a part")
    assert (whole / "0.npz").read_bytes() == b"of the whole view"
    for folder in (whole, part):
        described = hffs.describe(folder)
        assert described is not None
        assert described["scratch"] == str(scratch / described["fingerprint"])
        assert described["health"] == "ok"
    heads, *lines = hffs("ls").splitlines()
    assert heads.endswith("SCRATCH")
    assert sum(str(scratch) in line for line in lines) == 2


def test_the_mount_says_of_itself_what_it_does_without_a_layer(
    photo_parquet: Path, mount: Mount, scratch: Path
) -> None:
    plain, layered = mount(photo_parquet), mount(photo_parquet, "--scratch", scratch)
    for name in ("", "0.jpg"):
        for attribute in os.listxattr(plain / name):
            shown = os.getxattr(layered / name, attribute)
            assert shown == os.getxattr(plain / name, attribute)
    for name in ("0.jpg", "0.txt"):
        assert (layered / name).stat().st_mtime_ns == (plain / name).stat().st_mtime_ns


def test_one_layer_is_for_one_mount(
    photo_parquet: Path, hffs: Hffs, mount: Mount, folder: Path, scratch: Path
) -> None:
    first = mount(photo_parquet, "--scratch", scratch)
    done = hffs.run("mount", photo_parquet, folder, "--scratch", scratch)
    assert done.returncode == 4
    assert f": the mount on {first} writes to it; unmount that, or give this mount" in done.stderr
    assert find_mount(str(folder)) is None
    (first / "more.npz").write_bytes(b"x")


@pytest.mark.parametrize("plain_umount", [True, False])
def test_unmounting_by_any_means_takes_both_down(
    photo_parquet: Path, hffs: Hffs, folder: Path, scratch: Path, plain_umount: bool
) -> None:
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    lower = _layer(hffs, folder) / "lower"
    described = hffs.describe(folder)
    assert described is not None
    (folder / "kept.npz").write_bytes(b"latents")
    if plain_umount:
        detach(folder, lazy=False)
    else:
        os.kill(described["pid"], signal.SIGTERM)
    wait_until(lambda: not Path("/proc", str(described["pid"])).exists())
    assert find_mount(str(folder)) is None
    assert find_mount(str(lower)) is None
    assert hffs.describe(folder) is None
    assert (lower.parent / "upper/kept.npz").read_bytes() == b"latents"


def test_a_mount_in_use_is_left_as_it_is_until_forced(
    photo_parquet: Path, hffs: Hffs, folder: Path, scratch: Path
) -> None:
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    lower = _layer(hffs, folder) / "lower"
    with (folder / "open.npz").open("wb") as file:
        done = hffs.run("umount", folder)
        assert done.returncode == 4
        assert "it is in use; close what uses it" in done.stderr
        assert (folder / "0.jpg").stat().st_size  # both are there, and answer
        hffs("umount", "--force", folder)
        assert find_mount(str(folder)) is None
        assert find_mount(str(lower)) is None
        file.write(b"latents")  # whoever had it open goes on
    assert (lower.parent / "upper/open.npz").read_bytes() == b"latents"


def test_a_kill_loses_nothing_and_the_next_mount_goes_on(
    photo_parquet: Path, hffs: Hffs, mount: Mount, folder: Path, scratch: Path
) -> None:
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    described = hffs.describe(folder)
    assert described is not None
    with (folder / "open.npz").open("wb") as file:
        _write_as_trainers_do(folder)
        os.kill(described["pid"], signal.SIGKILL)
        wait_until(lambda: _health(hffs, folder) == "dead")
        dead = hffs.describe(folder)
        assert dead is not None
        assert (dead["scratch"], dead["pid"]) == (described["scratch"], None)
        file.write(b"written after the kill")
    # On the same folder, and for the same layer: what the kill left is taken away first.
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    _expect_what_trainers_wrote(folder)
    assert (folder / "open.npz").read_bytes() == b"written after the kill"
    assert _health(hffs, folder) == "ok"

    again = hffs.describe(folder)
    assert again is not None
    os.kill(again["pid"], signal.SIGKILL)
    wait_until(lambda: _health(hffs, folder) == "dead")
    # On another folder: only the layer is the same.
    other = mount(photo_parquet, "--scratch", scratch)
    _expect_what_trainers_wrote(other)
    assert find_mount(str(folder)) is None


def test_a_dead_one_is_unmounted(
    photo_parquet: Path, hffs: Hffs, folder: Path, scratch: Path
) -> None:
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    lower = _layer(hffs, folder) / "lower"
    described = hffs.describe(folder)
    assert described is not None
    os.kill(described["pid"], signal.SIGKILL)
    wait_until(lambda: _health(hffs, folder) == "dead")
    hffs("umount", folder)
    assert find_mount(str(folder)) is None
    assert find_mount(str(lower)) is None


def _health(hffs: Hffs, folder: Path) -> str:
    described = hffs.describe(folder)
    return described["health"] if described else "gone"


def test_regression_an_image_whose_size_was_not_known_is_copied_whole(
    photo_parquet: Path, hffs: Hffs, folder: Path, scratch: Path
) -> None:
    """An overlay keeps the size that a name had when it was listed, which was 0."""
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    names = sorted(name for name in os.listdir(folder) if name.endswith(".jpg"))
    lower = _layer(hffs, folder) / "lower"
    for name in names[:4]:
        source = os.open(folder / name, os.O_RDONLY)
        copy = os.open(folder / f"range-{name}", os.O_RDWR | os.O_CREAT)
        try:
            assert os.copy_file_range(source, copy, 1 << 30) == (lower / name).stat().st_size
        except OSError:  # the kernel may refuse; never end early
            os.unlink(folder / f"range-{name}")
        finally:
            os.close(source)
            os.close(copy)
    shutil.copy(folder / names[4], folder / "copy.jpg")
    subprocess.run(["cp", folder / names[5], folder / "cp.jpg"], check=True)
    os.rename(folder / names[6], folder / "renamed.jpg")
    (folder / names[7]).chmod(0o600)
    for made, name in (
        ("copy.jpg", names[4]),
        ("cp.jpg", names[5]),
        ("renamed.jpg", names[6]),
        (names[7], names[7]),
    ):
        assert (folder / made).read_bytes() == (lower / name).read_bytes()


def test_each_entry_of_a_file_has_a_layer(
    photo_parquet: Path, hffs: Hffs, tmp_path: Path, folder: Path, scratch: Path
) -> None:
    common = {"dataset_name": str(photo_parquet), "scratch": str(scratch)}
    entries = [
        common | {"id": "all"},
        common | {"id": "wide", "filter_func": {"min_width": 300}},
    ]
    config = tmp_path / "sets.json"
    config.write_text(json.dumps(entries))
    hffs("mount", config, folder)
    for name in ("all", "wide"):
        (folder / name / "0.npz").write_text(name)
    members = [hffs.describe(folder / name) for name in ("all", "wide")]
    assert {each["group"] for each in members if each} == {str(folder)}
    hffs("umount", folder)
    assert list(folder.iterdir()) == []
    hffs("mount", config, folder)
    assert [(folder / name / "0.npz").read_text() for name in ("all", "wide")] == ["all", "wide"]
    # One that is killed with its layer up is dead and is tidied up with the others.
    described = hffs.describe(folder / "wide")
    assert described is not None
    os.kill(described["pid"], signal.SIGKILL)
    wait_until(lambda: _health(hffs, folder / "wide") == "dead")
    hffs("umount", folder)
    assert list(folder.iterdir()) == []


def test_who_may_not_see_the_mount_may_not_see_through_the_layer(
    photo_parquet: Path, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    closed = mount(photo_parquet, "--scratch", tmp_path / "closed")
    opened = mount(photo_parquet, "--scratch", tmp_path / "opened", "--allow-other")
    assert (closed.stat().st_mode & 0o777, opened.stat().st_mode & 0o777) == (0o700, 0o777)
    shown = mount(
        photo_parquet, "--scratch", tmp_path / "owned", "--allow-other",
        "--uid", str(NOBODY), "--gid", str(NOBODY), "--umask", "077",
    )  # fmt: skip
    about = shown.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (NOBODY, NOBODY, 0o700)


def test_bad_folders_are_refused_before_anything_is_started(
    photo_parquet: Path, hffs: Hffs, folder: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    for scratch, code, said in (
        (folder / "inside", 2, f"cannot use --scratch {folder}/inside: the mount hides it; choose"),
        (folder, 2, "the mount hides it"),
        (taken, 4, f"cannot keep a writable layer in {taken}: File exists; choose a folder that"),
        (taken / "below", 4, "Not a directory; choose a folder that you may write to"),
        (Path("/proc/hffs"), 4, "cannot keep a writable layer in /proc/hffs: "),
    ):
        done = hffs.run("mount", photo_parquet, folder, "--scratch", scratch)
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.fixture
def overlaid(tmp_path: Path) -> Iterator[Path]:
    """A folder on an overlay, as the root of a container is: the kernel takes no layer there."""
    made = [tmp_path / "overlaid" / part for part in ("lower", "upper", "work", "merged")]
    for part in made:
        part.mkdir(parents=True)
    lower, upper, work, merged = made
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=True)
    yield merged
    subprocess.run(["umount", "-l", merged], check=True)


def test_where_the_kernel_refuses_fuse_overlayfs_is_used(
    photo_parquet: Path, hffs: Hffs, mount: Mount, folder: Path, overlaid: Path
) -> None:
    plain = _contents(mount(photo_parquet))
    hffs("mount", photo_parquet, folder, "--scratch", overlaid)
    mounted = find_mount(str(folder))
    assert mounted is not None
    assert mounted.fs_type == "fuse.fuse-overlayfs"
    assert _contents(folder) == plain
    _write_as_trainers_do(folder)
    (folder / "0.txt").unlink()
    # Its program is killed, which its users notice; then all of it is.
    with (folder / "open.npz").open("wb", buffering=0) as file:
        file.write(b"not lost")
        for pid in _pids_of("fuse-overlayfs", folder):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _health(hffs, folder) == "dead")
    hffs("mount", photo_parquet, folder, "--scratch", overlaid)
    _expect_what_trainers_wrote(folder)
    assert (folder / "open.npz").read_bytes() == b"not lost"
    assert not (folder / "0.txt").exists()
    hffs("umount", folder)
    wait_until(lambda: not _pids_of("fuse-overlayfs", folder))


def _pids_of(program: str, folder: Path) -> list[int]:
    """Processes that were started with a folder as an argument."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if Path(os.fsdecode(words[0])).name == program and os.fsencode(folder) in words:
            found.append(int(pid))
    return found


def test_where_neither_can_make_one_the_line_says_what_helps(
    photo_parquet: Path, hffs: Hffs, folder: Path, overlaid: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("mount", "umount", "fusermount3"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    hffs.environ["PATH"] = str(tools)
    done = hffs.run("mount", photo_parquet, folder, "--scratch", overlaid)
    assert done.returncode == 4
    assert done.stderr.startswith(f"hffs: cannot make a writable layer in {overlaid}/")
    assert "fuse-overlayfs is missing; choose a folder on a disk of this host" in done.stderr
    assert "apt-get install fuse-overlayfs" in done.stderr
    assert done.stderr.count("\n") == 1
    assert find_mount(str(folder)) is None
    assert hffs.describe(folder) is None


@pytest.fixture
def nobody() -> Iterator[Nobody]:
    if os.geteuid() != 0:
        pytest.skip("takes root to become another user")
    with open_nobody() as found, open_device():
        if found is None:
            pytest.skip("every Python here is closed to other users")
        yield found


def test_without_root_it_takes_fuse_overlayfs(photo_parquet: Path, nobody: Nobody) -> None:
    home = Path(nobody.environ["HOME"])
    source = home / "photos.parquet"
    shutil.copy(photo_parquet, source)
    folder, scratch = home / "mnt", home / "scratch"
    folder.mkdir()
    for path in (source, folder):
        os.chown(path, NOBODY, NOBODY)
    hffs = ("-m", "hffs")
    write = "import sys; open(sys.argv[1], 'wb').write(open(sys.argv[2], 'rb').read())"
    for number in range(2):
        done = nobody.run(*hffs, "mount", source, folder, "--scratch", scratch)
        assert done.returncode == 0, done.stderr
        mounted = find_mount(str(folder))
        assert mounted is not None
        assert mounted.fs_type == "fuse.fuse-overlayfs"
        assert nobody.run("-c", write, folder / f"{number}.npz", folder / "0.jpg").returncode == 0
        done = nobody.run(*hffs, "umount", folder)
        assert done.returncode == 0, done.stderr
    (layer,) = scratch.iterdir()
    assert sorted(os.listdir(layer / "upper")) == ["0.npz", "1.npz"]
    assert (layer / "upper/0.npz").read_bytes() == (layer / "upper/1.npz").read_bytes() != b""

    tools = home / "tools"
    tools.mkdir()
    (tools / "fusermount3").symlink_to(shutil.which("fusermount3") or "")
    nobody.environ["PATH"] = str(tools)
    done = nobody.run(*hffs, "mount", source, folder, "--scratch", scratch)
    assert done.returncode == 4
    assert done.stderr == (
        "hffs: cannot make a writable layer: only root may use the kernel's overlayfs, and "
        "fuse-overlayfs is missing; install fuse-overlayfs (Debian, Ubuntu: apt-get install "
        "fuse-overlayfs)\n"
    )


def test_a_layer_that_cannot_be_marked_is_refused_in_one_line(
    photo_parquet: Path, hffs: Hffs, folder: Path, scratch: Path
) -> None:
    hffs("mount", photo_parquet, folder, "--scratch", scratch)
    layer = _layer(hffs, folder)
    hffs("umount", folder)
    (layer / "layer.json").unlink()
    (layer / "layer.json").mkdir()
    done = hffs.run("mount", photo_parquet, folder, "--scratch", scratch)
    assert done.returncode == 4
    assert done.stderr.startswith(f"hffs: cannot keep a writable layer in {layer}: Is a directory;")
    assert done.stderr.count("\n") == 1
    assert find_mount(str(folder)) is None

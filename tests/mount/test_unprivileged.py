"""A real user without rights mounts through fusermount3, and sees what is its own alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.mount.mountinfo import find_mount
from hffs.mount.registry import read_start_time
from tests.far_photos import photo_of
from tests.mount.nobody import Nobody, open_device, open_nobody, with_home_of
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

OTHER = 65533
LOOK = """
import os, sys
for look in (os.stat, os.listdir, lambda at: open(at + "/0.jpg"), os.listxattr):
    try:
        look(sys.argv[1])
    except PermissionError:
        print("denied")
    else:
        print("seen")
print(os.statvfs(sys.argv[1])[:8])  # answered by the kernel, which tells nothing
"""


@pytest.fixture(scope="module")
def nobody() -> Iterator[Nobody]:
    if os.geteuid() != 0:
        pytest.skip("takes root to become another user")
    with ExitStack() as stack:
        found = stack.enter_context(open_nobody())
        if found is None:
            pytest.skip("every Python here is closed to other users")
        stack.enter_context(open_device())
        images = [{"bytes": photo_of(number), "path": None} for number in range(3)]
        pq.write_table(pa.table({"image": images, "caption": ["a", "b", "c"]}), source_of(found))
        yield found
        for mount in found.home.glob("mnt*"):
            found.hffs("umount", "--force", mount)


def source_of(user: Nobody) -> Path:
    return user.home / "photos.parquet"


@pytest.fixture
def other(nobody: Nobody) -> Nobody:
    """Another user without rights, who can come as far as the first one's home."""
    nobody.home.chmod(0o755)
    return with_home_of(nobody, OTHER)


def mount(user: Nobody, name: str, *flags: str) -> Path:
    folder = user.make(name)
    done = user.hffs("mount", source_of(user), folder, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def describe(user: Nobody, folder: Path) -> dict[str, Any]:
    """What `hffs ls` of a user says of a mount."""
    lines: list[dict[str, Any]] = json.loads(user.hffs("ls", "--json").stdout)
    return next(line for line in lines if line["mountpoint"] == str(folder))


@pytest.fixture(scope="module")
def mounted(nobody: Nobody) -> Iterator[Path]:
    """A mount of the user's, which it takes down in the end."""
    folder = mount(nobody, "mnt-plain")
    yield folder
    done = nobody.hffs("umount", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert find_mount(str(folder)) is None


def test_it_mounts_and_lists(nobody: Nobody, mounted: Path) -> None:
    kernel = find_mount(str(mounted))
    assert kernel is not None
    assert {"ro", "nosuid", "nodev"} <= kernel.options
    read = f"import os; print(sorted(os.listdir({str(mounted)!r})))"
    assert nobody.run("-c", read).stdout == (
        "['0.jpg', '0.txt', '1.jpg', '1.txt', '2.jpg', '2.txt']\n"
    )
    described = describe(nobody, mounted)
    assert (described["health"], described["rows"]) == ("ok", 3)
    done = nobody.hffs("warm", source_of(nobody))
    assert done.returncode == 0, done.stderr
    for kept in (nobody.home / "cache/hffs/store", nobody.home / "state/hffs"):
        assert kept.stat().st_mode & 0o777 == 0o700
        assert kept.stat().st_uid == nobody.user


def test_nobody_else_sees_it_nor_takes_it_away(
    nobody: Nobody, other: Nobody, mounted: Path
) -> None:
    folder = mounted
    told = other.run("-c", LOOK, folder).stdout.splitlines()
    assert told == ["denied"] * 4 + [str((0,) * 8)]
    with pytest.raises(PermissionError):  # root too: it is no way around the owner
        os.listdir(folder)
    away = other.home.parent / f"{other.home.name}-other"
    away.mkdir()
    os.chown(away, OTHER, OTHER)
    kept = {f"XDG_{kind}_HOME": str(away / kind) for kind in ("STATE", "CACHE")}
    stranger = Nobody(other.python, other.environ | kept | {"HOME": str(away)}, OTHER)
    try:
        for flags in ([], ["--force"]):
            done = stranger.hffs("umount", *flags, folder)
            assert done.returncode == 4
            assert done.stderr.count("\n") == 1
        assert find_mount(str(folder)) is not None
        assert describe(nobody, folder)["health"] == "ok"
        # Records of another are none: whoever believed them would signal processes by them.
        assert describe(other, folder)["pid"] is None
        done = other.hffs("mount", source_of(nobody), folder)
        assert done.returncode != 0
        assert done.stderr.count("\n") == 1
    finally:
        shutil.rmtree(away)


@pytest.mark.usefixtures("mounted")
def test_what_its_daemon_keeps_is_closed_to_others(nobody: Nobody, other: Nobody) -> None:
    roots = [str(nobody.home / "state/hffs"), str(nobody.home / "cache/hffs/store")]
    look = f"import os; [print(list(os.walk(root))) for root in {roots}]"
    assert other.run("-c", look).stdout.split() == ["[]", "[]"]
    assert nobody.run("-c", look).stdout.split() != ["[]", "[]"]


def test_allow_other_is_refused_unless_the_host_lets_users(nobody: Nobody) -> None:
    lines = Path("/etc/fuse.conf").read_text().splitlines()
    if "user_allow_other" in lines:
        pytest.skip("this host lets users")
    folder = nobody.make("mnt-open")
    done = nobody.hffs("mount", source_of(nobody), folder, "--allow-other")
    assert done.returncode == 4
    assert "user_allow_other" in done.stderr
    assert done.stderr.count("hffs: ") == 1
    assert find_mount(str(folder)) is None


@pytest.mark.parametrize("way", ["mount", "umount"])
def test_a_dead_mount_is_taken_away(way: str, nobody: Nobody) -> None:
    folder = mount(nobody, f"mnt-dead-{way}")
    pid: int = describe(nobody, folder)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: read_start_time(pid) is None)
    assert describe(nobody, folder)["health"] == "dead"
    if way == "mount":
        done = nobody.hffs("mount", source_of(nobody), folder)
        assert done.returncode == 0, done.stderr
        assert nobody.hffs("umount", folder).returncode == 0
    else:
        assert nobody.hffs("umount", folder).returncode == 0
    assert find_mount(str(folder)) is None


def test_force_cuts_off_who_still_reads(nobody: Nobody) -> None:
    folder = mount(nobody, "mnt-used", "--images-only")
    hold = nobody.environ | {"HELD": str(folder / "0.jpg")}
    holder = Nobody(nobody.python, hold, nobody.user)
    busy = (
        "import os, subprocess, sys; held = open(os.environ['HELD'], 'rb'); "
        "print(subprocess.run([sys.executable, '-m', 'hffs', 'umount', sys.argv[1]]).returncode)"
    )
    done = holder.run("-c", busy, folder)
    assert done.stdout.split()[-1] == "4"
    assert "it is in use" in done.stderr
    assert nobody.hffs("umount", "--force", folder).returncode == 0
    assert find_mount(str(folder)) is None

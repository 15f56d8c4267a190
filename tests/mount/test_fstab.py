"""mount(8) and umount(8) on a real mount, with the helper in an /sbin of this test alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hffs.mount.registry import Registry
from tests.command import Hffs

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root to make namespaces"),
]

# A folder over the real one: nobody else on this host sees the helper.
_SCRIPT = """
set -e
mount -t tmpfs none "$1/over"
mkdir "$1/over/upper" "$1/over/work"
sbin=$(readlink -f /sbin)
mount -t overlay -o "lowerdir=$sbin,upperdir=$1/over/upper,workdir=$1/over/work" none "$sbin"
ln -s "$1/helper" /sbin/mount.fuse.hffs
ln -s "$1/helper" /sbin/mount.hffs

mount -t fuse.hffs "hffs#$2" "$1/mnt" -o 'allow_other,umask=027,_netdev,where="width >= 400"'
grep -F " $1/mnt " /proc/self/mountinfo
stat -c '%A %u' "$1/mnt/0.jpg"
ls "$1/mnt" | wc -l
umount "$1/mnt"
if grep -F " $1/mnt " /proc/self/mountinfo; then exit 7; fi

mount -T "$1/fstab" "$1/mnt"
ls "$1/mnt" | wc -l
umount "$1/mnt"

mount -t hffs "$1/none.parquet" "$1/mnt" || echo "code $?"
mount -t hffs "$2" "$1/mnt" -o nope=1 || echo "code $?"
"""


def test_mount_and_umount_take_the_type(photo_parquet: Path, hffs: Hffs, tmp_path: Path) -> None:
    for name in ("over", "mnt"):
        (tmp_path / name).mkdir()
    line = rf'hffs#{photo_parquet} {tmp_path}/mnt hffs defaults,where="width\040>=\040400" 0 0'
    (tmp_path / "fstab").write_text(f"{line}\n")
    state = tmp_path / "home/.local/state/hffs"
    # As at boot: nothing of a session is in the environment, but where this test keeps things.
    keep = f"env -i HOME={tmp_path}/home PYTHONPATH={hffs.environ['PYTHONPATH']}"
    program = "from hffs.cli.fstab import main; main()"
    helper = tmp_path / "helper"
    helper.write_text(f"#!/bin/sh\nexec {keep} {sys.executable} -c '{program}' \"$@\"\n")
    helper.chmod(0o755)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", _SCRIPT, "sh", tmp_path, photo_parquet],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table, mode, files, files_again, *codes = done.stdout.splitlines()
    assert " - fuse.hffs hffs#" in table.replace(r"\043", "#")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(table.split()[5].split(","))
    assert mode == "-r--r----- 0"
    assert 0 < int(files) < 2 * 25
    assert files_again == files
    assert codes == ["code 32", "code 1"]
    assert "nope=1: nobody knows it" in done.stderr
    assert Registry(state).all() == [], "umount has ended the daemons"

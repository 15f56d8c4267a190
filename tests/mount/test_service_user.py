"""What hffs@.service says, done without systemd: its user, its one capability, its commands.

/dev/fuse is open to all where udev is; here it is so in a mount namespace of the test.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

from hffs.mount.registry import Registry, read_start_time
from tests.command import Hffs
from tests.waiting import wait_until

_USER = 65534
_ROOT = Path("/mnt")
_ELSE = 1000  # anybody but root and the service
_UNIT = Path(__file__).parents[2] / "systemd/hffs@.service"

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become another user"),
]


# Python may be below the home of root: for the user of this test it is open.
_OPEN = (
    "mkdir {over}; mount -t tmpfs none {over}; mkdir {over}/upper {over}/work; "
    "mount -t overlay -o lowerdir={place},upperdir={over}/upper,workdir={over}/work none {place}; "
    "chmod a+x {place}"
)


def _find_closed() -> set[Path]:
    """The folders on the way to what a test runs that are closed to other users, at most one."""
    wanted = (Path(sys.base_prefix), Path(sys.prefix), Path(__file__))
    ways = [[*reversed(path.resolve().parents), path] for path in wanted]
    found = [next((each for each in way if not each.stat().st_mode & 0o001), None) for way in ways]
    return {each for each in found if each is not None and each.is_dir()}


@dataclass(frozen=True)
class Host:
    """A mount namespace with the folders of the unit.

    `outside` is its `_ROOT` elsewhere: the folders of pytest are closed to other users.
    """

    pid: int
    outside: Path
    environ: dict[str, str]

    def line(self, key: str) -> list[str]:
        """A command of the unit, with paths of this test in place of those of a host."""
        parser = RawConfigParser(delimiters="=", interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign] # the documented way
        parser.read(_UNIT)
        text = parser["Service"][key].replace("\\\n", "").replace("$$", "$").replace("%i", "photos")
        for told in ("/etc/hffs", "/mnt/hffs", "/usr/local/bin"):
            text = text.replace(told, f"{_ROOT}{told}")
        return shlex.split(text.lstrip("-+"))

    def start(self, *command: str, user: int = _USER, caps: str = "") -> subprocess.Popen[str]:
        """Run a command in here as a user that has these capabilities and gets no others."""
        rights = [f"--inh-caps=-all{caps}", f"--ambient-caps=-all{caps}", "--no-new-privs"]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *rights]
        if caps:
            become.append(f"--bounding-set=-all{caps}")
        return subprocess.Popen(
            ["nsenter", "-t", str(self.pid), "-m", *become, *command],
            env=self.environ, umask=0o077,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *command: str, user: int = _USER, caps: str = "") -> str:
        """Run a command to its end; what it said."""
        with self.start(*command, user=user, caps=caps) as running:
            said, why = running.communicate(timeout=100)
        assert running.returncode == 0, why
        return said


@pytest.fixture
def host(tmp_path: Path, photo_parquet: Path) -> Iterator[Host]:
    folder = tmp_path / "host"
    for name in ("etc/hffs", "mnt/hffs/photos", "usr/local/bin", "var"):
        (folder / name).mkdir(parents=True)
    os.chown(folder / "var", _USER, _USER)
    shutil.copyfile(photo_parquet, folder / "photos.parquet")
    (folder / "etc/hffs/photos.toml").write_text(f'dataset_name = "{_ROOT}/photos.parquet"\n')
    program = folder / "usr/local/bin/hffs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hffs "$@"\n')
    program.chmod(0o755)
    own = {"XDG_STATE_HOME": f"{_ROOT}/var/lib", "XDG_CACHE_HOME": f"{_ROOT}/var/cache"}
    environ = Hffs.below(_ROOT / "var").environ | own | {"HOME": f"{_ROOT}/var"}
    closed = [each for each in _find_closed() if not tmp_path.is_relative_to(each)]
    opening = "".join(f"{_OPEN.format(place=each, over=folder / 'over')}; " for each in closed)
    script = f"{opening}mknod -m 666 {folder}/fuse c 10 229; mount --bind {folder}/fuse /dev/fuse; "
    script += f"mount --bind {folder} {_ROOT}"
    command = ["unshare", "-m", "sh", "-ec", f"{script}; echo; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sleeping:
        assert sleeping.stdout is not None
        assert sleeping.stdout.readline() == "\n"
        yield Host(sleeping.pid, folder, environ)
        sleeping.kill()


def test_the_unit_mounts_recovers_and_ends_as_its_user(host: Host) -> None:
    place, caps = _ROOT / "mnt/hffs/photos", ",+sys_admin"
    registry = Registry(Path("/nonexistent"), host.outside / "var/lib/hffs")

    def serve() -> subprocess.Popen[str]:
        running = host.start(*host.line("ExecStart"), caps=caps)
        wait_until(lambda: bool(registry.all()) or running.poll() is not None)
        assert running.poll() is None, running.communicate()[1]
        return running

    running = serve()
    (record,) = registry.all()
    assert (record.pid, record.mountpoint) == (running.pid, str(place)), "root knows of it"
    seen = host.run("ls", str(place), user=_ELSE)
    assert "0.jpg" in seen.split()
    first = host.run("md5sum", f"{place}/0.jpg", user=_ELSE)
    table = host.run("grep", f" {place} ", "/proc/self/mountinfo")
    assert f"user_id={_USER}," in table
    assert "allow_other" in table

    running.kill()
    running.communicate()
    wait_until(lambda: read_start_time(record.pid) is None)
    again = serve()  # nobody has tidied up: it finds the dead mount of the one before
    assert host.run("md5sum", f"{place}/0.jpg", user=_ELSE) == first

    again.kill()
    again.communicate()
    tidy = ["env", "SERVICE_RESULT=signal", *host.line("ExecStopPost")]
    host.run(*tidy, caps=caps)
    assert str(place) not in host.run("cat", "/proc/self/mountinfo")

    last = serve()
    last.terminate()
    said = last.communicate()[1]
    assert last.returncode == 0, said
    assert str(place) not in host.run("cat", "/proc/self/mountinfo")
    assert registry.all() == []
    assert host.line("ExecReload") == ["/bin/kill", "-HUP", "$MAINPID"]
    private = {path.stat().st_mode & 0o077 for path in (host.outside / "var").rglob("*")}
    assert private == {0}, "nothing is open to others"


def test_without_the_capability_the_user_is_told(host: Host) -> None:
    running = host.start(*host.line("ExecStart"))
    said = running.communicate(timeout=100)[1]
    assert running.returncode == 4
    assert "hffs: cannot mount on" in said

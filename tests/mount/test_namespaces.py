"""Containers, as the kernel has them: mount namespaces that mounts do, or do not, go into."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hffs.mount.mountinfo import find_mount
from tests.command import Hffs

pytestmark = pytest.mark.fuse


@dataclass(frozen=True)
class Container:
    """A process in a mount namespace of its own; commands join it there."""

    pid: int

    def run(self, *command: str | Path, environ: dict[str, str] | None = None) -> str:
        join = ["nsenter", "-t", str(self.pid), "-m", *map(str, command)]
        done = subprocess.run(join, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


Start = Callable[[str], Container]
Flags = tuple[str, ...]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A folder whose mounts are shared with whoever has it too, as a volume of a pod is."""
    if os.geteuid() != 0:
        pytest.skip("takes root to make namespaces")
    volume = tmp_path / "volume"
    (volume / "photos").mkdir(parents=True)
    subprocess.run(["mount", "--bind", volume, volume], check=True)
    subprocess.run(["mount", "--make-rshared", volume], check=True)
    yield volume
    subprocess.run(["umount", "-l", volume], check=True)


@pytest.fixture(params=["plain", "layered"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Flags:
    """With a writable layer, and without."""
    return ("--scratch", str(tmp_path / "scratch")) if request.param == "layered" else ()


@pytest.fixture
def start(volume: Path) -> Iterator[Start]:
    """Starts containers: with "slave" mounts come in (HostToContainer), with "shared" they also go
    out (Bidirectional).
    """
    running: list[subprocess.Popen[str]] = []

    def start(propagation: str) -> Container:
        alive = "echo; exec sleep 600"
        command = ["unshare", "-m", "--propagation", propagation, "sh", "-c", alive]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return Container(child.pid)

    yield start
    for child in running:
        child.kill()
        child.communicate()


def test_a_mount_of_the_host_comes_into_a_container_that_runs_already(
    photo_parquet: Path, hffs: Hffs, volume: Path, start: Start, scratch: Flags
) -> None:
    container, folder = start("slave"), volume / "photos"
    hffs("mount", photo_parquet, folder, *scratch)
    assert container.run("cat", folder / "0.txt") == (folder / "0.txt").read_text()
    if scratch:
        container.run("cp", folder / "0.txt", folder / "0.npz")
        assert (folder / "0.npz").read_bytes() == (folder / "0.txt").read_bytes()
    hffs("umount", folder)
    assert container.run("ls", folder) == ""


def test_a_mount_of_a_sidecar_goes_out_to_the_host_and_to_the_other_container(
    photo_parquet: Path, hffs: Hffs, volume: Path, start: Start, scratch: Flags
) -> None:
    sidecar, trainer, folder = start("shared"), start("slave"), volume / "photos"
    command = (sys.executable, "-m", "hffs")
    sidecar.run(*command, "mount", photo_parquet, folder, *scratch, environ=hffs.environ)
    assert trainer.run("cat", folder / "0.txt") == (folder / "0.txt").read_text()
    sidecar.run(*command, "umount", folder, environ=hffs.environ)
    assert trainer.run("ls", folder) == ""
    assert find_mount(str(folder)) is None


def test_root_of_a_user_namespace_has_a_layer_of_the_kernel(
    photo_parquet: Path, hffs: Hffs, volume: Path, tmp_path: Path
) -> None:
    """As in a rootless container: the kernel takes other options there."""
    python = sys.executable
    folder, scratch = volume / "photos", tmp_path / "scratch"
    script = f"""
        set -e
        {python} -m hffs mount {photo_parquet} {folder} --scratch {scratch}
        grep ' {folder} ' /proc/self/mountinfo
        cp {folder}/0.jpg {folder}/0.npz
        rm {folder}/0.txt
        {python} -m hffs umount {folder}
        {python} -m hffs mount {photo_parquet} {folder} --scratch {scratch}
        cmp {folder}/0.jpg {folder}/0.npz
        test ! -e {folder}/0.txt
        {python} -m hffs umount {folder}
    """
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script],
        env=hffs.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " - overlay overlay " in done.stdout

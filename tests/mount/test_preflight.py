import os
import subprocess
from pathlib import Path

import pytest

from hffs.errors import MountError
from hffs.mount import preflight, privileges
from hffs.mount.detaching import detach
from hffs.mount.mountinfo import Mounted
from hffs.mount.preflight import check_folder, check_fuse, prepare_mountpoint


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that tells what this user may do: nothing."""
    status = tmp_path_factory.mktemp("proc") / "status"
    status.write_text("Name:\tpython\nCapEff:\t0000000000000000\n")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(privileges, "STATUS", status)
    return status


def test_a_host_without_the_device_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "DEVICE", tmp_path / "fuse")
    with pytest.raises(MountError, match=r"there is no .*fuse; .*modprobe fuse"):
        check_fuse()


@pytest.mark.usefixtures("as_user")
def test_a_user_without_fusermount3_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fuse").touch()
    monkeypatch.setattr(preflight, "DEVICE", tmp_path / "fuse")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match=r"fusermount3 is missing; .*apt-get install fuse3"):
        check_fuse()


@pytest.mark.usefixtures("as_user")
def test_a_user_who_may_not_open_the_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fuse").touch()
    (tmp_path / "fusermount3").write_text("#!/bin/sh\n")
    (tmp_path / "fusermount3").chmod(0o755)
    monkeypatch.setattr(preflight, "DEVICE", tmp_path / "fuse")
    monkeypatch.setenv("PATH", str(tmp_path))
    check_fuse()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "fuse")
    with pytest.raises(MountError, match="may not open"):
        check_fuse()


def test_a_service_with_the_capability_needs_no_fusermount3_and_no_folder_of_its_own(
    as_user: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "fuse").touch()
    monkeypatch.setattr(preflight, "DEVICE", tmp_path / "fuse")
    monkeypatch.setenv("PATH", str(tmp_path))
    as_user.write_text("CapEff:\t0000000000200000\n")
    check_fuse()
    (tmp_path / "sub").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert prepare_mountpoint(tmp_path / "sub") == tmp_path / "sub"
    as_user.unlink()
    with pytest.raises(MountError, match="fusermount3 is missing"):
        check_fuse()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try umount(2)")
def test_a_service_with_the_capability_detaches_by_itself(
    as_user: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_user.write_text("CapEff:\t0000000000200000\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match=r"cannot unmount .*: Invalid argument"):
        detach(tmp_path)


def test_an_empty_folder_is_fine_under_its_real_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert prepare_mountpoint(tmp_path / "link") == tmp_path / "real"


@pytest.mark.usefixtures("as_user")
def test_a_folder_of_somebody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(MountError, match="no permission to write to it"):
        prepare_mountpoint(tmp_path)


def test_the_trap_of_an_automount_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trap = Mounted(str(tmp_path), "0:7", "autofs", "systemd-1", frozenset({"rw"}))
    monkeypatch.setattr(preflight, "find_mount", lambda path: trap)
    monkeypatch.delattr(os, "scandir")  # whoever opens it would wait for itself
    assert prepare_mountpoint(tmp_path) == tmp_path
    with pytest.raises(MountError, match=r"nothing can be made in an automount; .*--entry"):
        check_folder(tmp_path)


def test_a_folder_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def deny(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(MountError, match="no permission to read it"):
        prepare_mountpoint(tmp_path)


def test_detaching_says_what_the_tool_said(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"cannot unmount .*: .*not mounted"):
        detach(tmp_path)


def test_detaching_without_the_tool_or_with_one_that_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match=r"umount is missing|fusermount3 is missing"):
        detach(tmp_path)

    def hang(command: list[str], **options: object) -> None:
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(MountError, match="did not end within 10 s"):
        detach(tmp_path)

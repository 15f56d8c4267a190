import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hffs.errors import MountError
from hffs.mount.observing.sockets import open_socket
from hffs.mount.registry import Group, Record, Registry, find_state_folder, read_start_time
from tests.waiting import wait_until


@pytest.fixture
def record() -> Record:
    started = read_start_time(os.getpid())
    assert started is not None
    return Record(
        mountpoint="/mnt/photos", pid=os.getpid(), started=started, source="photos.parquet",
        commit="abc", fingerprint="def", positions=3, log=None,
    )  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_a_record_is_found_again(registry: Registry, record: Record) -> None:
    registry.add(record)
    assert registry.find("/mnt/photos") == record
    assert registry.all() == [record]
    assert registry.find("/mnt/other") is None


def test_the_last_record_of_a_mountpoint_wins(registry: Registry, record: Record) -> None:
    registry.add(record)
    registry.add(replace(record, source="other"))
    assert [kept.source for kept in registry.all()] == ["other"]


def test_records_of_ended_daemons_are_dropped(registry: Registry, record: Record) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    registry.add(replace(record, pid=child.pid))
    assert registry.find("/mnt/photos") is None
    assert registry.all() == []


def test_a_daemon_that_nobody_reaped_has_ended() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read_start_time(child.pid) is None


def test_the_socket_of_an_ended_daemon_goes_with_its_record(
    registry: Registry, record: Record, tmp_path: Path
) -> None:
    dead, busy = tmp_path / "sockets/dead.sock", tmp_path / "sockets/busy.sock"
    open_socket(dead).close()
    with open_socket(busy):  # of a new mount on the same folder, whose record is about to come
        for path in (dead, busy):
            registry.add(replace(record, started=record.started - 1, socket=str(path)))
            assert registry.all() == []
        assert [path.exists() for path in (dead, busy)] == [False, True]


def test_a_reused_pid_is_not_the_daemon(registry: Registry, record: Record) -> None:
    registry.add(replace(record, started=record.started - 1))
    assert registry.find("/mnt/photos") is None


def test_only_the_owner_removes_its_record(registry: Registry, record: Record) -> None:
    registry.add(record)
    registry.remove("/mnt/photos", record.pid + 1)
    assert registry.find("/mnt/photos") == record
    registry.remove("/mnt/photos", record.pid)
    assert registry.find("/mnt/photos") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mountpoint": 1}', "\x00"])
def test_a_damaged_record_is_no_record(
    registry: Registry, record: Record, tmp_path: Path, text: str
) -> None:
    registry.add(record)
    (path,) = (tmp_path / "mounts").glob("*.json")
    path.write_text(text)
    assert registry.all() == []
    assert not path.exists()


def test_regression_a_daemon_of_another_version_keeps_its_record(
    registry: Registry, record: Record, tmp_path: Path
) -> None:
    registry.add(record)
    (path,) = (tmp_path / "mounts").glob("*.json")
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"more": 1}))
    assert registry.all() == [record]
    del told["source"]
    path.write_text(json.dumps(told))
    assert registry.all() == []
    assert path.exists()
    path.write_text(json.dumps(told | {"started": 0}))
    assert registry.all() == []
    assert not path.exists()


def test_a_record_that_cannot_be_written_is_told_in_one_line(
    record: Record, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MountError, match=r"cannot write the record .*: Not a directory; make room"):
        Registry(tmp_path / "file").add(record)


def test_an_empty_state_folder_has_no_mounts(registry: Registry) -> None:
    assert registry.all() == []


def test_the_state_folder_follows_xdg_and_refuses_a_relative_one() -> None:
    assert find_state_folder({"XDG_STATE_HOME": "/var/x"}) == Path("/var/x/hffs")
    assert find_state_folder({"XDG_STATE_HOME": "x"}) == Path.home() / ".local/state/hffs"


def test_records_are_private(registry: Registry, record: Record, tmp_path: Path) -> None:
    registry.add(record)
    (path,) = (tmp_path / "mounts").glob("*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def group(record: Record) -> Group:
    return Group("/mnt/all", ("a", "b"), ("a",), record.pid, record.started, starting=True)


def test_a_group_is_found_again_until_it_has_no_members(registry: Registry, group: Group) -> None:
    assert registry.find_group("/mnt/all") is None
    with registry.locked():
        registry.put_group(group)
    assert registry.find_group("/mnt/all") == group
    assert registry.find_group("/mnt") is None
    registry.put_group(replace(group, members=()))
    registry.put_group(replace(group, members=()))
    assert registry.find_group("/mnt/all") is None
    assert registry.all() == []


def test_a_group_is_starting_as_long_as_its_starter_lives_and_says_so(group: Group) -> None:
    assert group.is_starting()
    assert not replace(group, starting=False).is_starting()
    assert not replace(group, started=group.started - 1).is_starting()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"members": 1, "made": []}', "\x00"])
def test_a_damaged_group_is_no_group(
    registry: Registry, group: Group, tmp_path: Path, text: str
) -> None:
    registry.put_group(group)
    (path,) = (tmp_path / "groups").glob("*.json")
    path.write_text(text)
    assert registry.find_group("/mnt/all") is None


def test_regression_a_group_of_a_later_version_counts(
    registry: Registry, group: Group, tmp_path: Path
) -> None:
    registry.put_group(group)
    (path,) = (tmp_path / "groups").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
    assert registry.find_group("/mnt/all") == group


def test_groups_are_changed_by_one_process_at_a_time(registry: Registry, tmp_path: Path) -> None:
    command = ["flock", "--nonblock", str(tmp_path / "groups" / "lock"), "true"]
    with registry.locked():
        assert subprocess.run(command, check=False).returncode == 1
    assert subprocess.run(command, check=False).returncode == 0


def test_regression_a_record_of_a_daemon_that_knew_no_groups_counts(
    registry: Registry, record: Record, tmp_path: Path
) -> None:
    registry.add(record)
    (path,) = (tmp_path / "mounts").glob("*.json")
    fields = json.loads(path.read_text())
    del fields["group"]
    path.write_text(json.dumps(fields))
    assert registry.find("/mnt/photos") == record


@pytest.fixture
def serving() -> Iterator[int]:
    """A process of a service user."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "1000"]
    with subprocess.Popen(command) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}").stat().st_uid == 65534)
        yield process.pid
        process.kill()


@pytest.fixture
def of_service(record: Record, tmp_path: Path) -> Callable[..., Path]:
    """Write a record as the service would, with some fields changed; its file."""

    def write(pid: int, /, **changed: object) -> Path:
        state = tmp_path / "service"
        started = read_start_time(pid)
        fields = asdict(record) | {"pid": pid, "started": started, "mountpoint": "/mnt/served"}
        Registry(state).add(record)
        (path,) = (state / "mounts").glob("*.json")
        path.write_text(json.dumps(fields | changed))
        for each in (state, state / "mounts", path):
            os.chown(each, 65534, 65534)
        return path

    return write


_needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees records of others")


@_needs_root
def test_root_finds_the_records_of_the_service(
    record: Record, serving: int, of_service: Callable[..., Path], tmp_path: Path
) -> None:
    path = of_service(serving, log="/etc/shadow")
    registry = Registry(tmp_path / "own", tmp_path / "service")
    found = registry.find("/mnt/served")
    assert found is not None
    assert (found.pid, found.log) == (serving, None)
    registry.add(record)
    assert [each.mountpoint for each in registry.all()] == ["/mnt/photos", "/mnt/served"]
    assert Registry(tmp_path / "own").find("/mnt/served") is None
    registry.add(replace(record, mountpoint="/mnt/served"))
    assert registry.find("/mnt/served") == replace(record, mountpoint="/mnt/served"), "its own win"
    registry.remove("/mnt/served", record.pid)
    registry.remove("/mnt/served", serving)
    assert path.exists(), "the service's own are never touched"


@_needs_root
def test_the_service_cannot_have_root_end_a_process_of_another_user(
    of_service: Callable[..., Path], tmp_path: Path
) -> None:
    of_service(os.getpid())
    assert Registry(tmp_path / "own", tmp_path / "service").all() == []


@_needs_root
@pytest.mark.parametrize(
    "changed", [{"pid": "1"}, {"mountpoint": None}, {"log": 7}, {"started": 0}]
)
def test_a_record_of_the_service_that_is_none_is_passed_over(
    serving: int, of_service: Callable[..., Path], tmp_path: Path, changed: dict[str, object]
) -> None:
    path = of_service(serving, **changed)
    assert Registry(tmp_path / "own", tmp_path / "service").all() == []
    assert path.exists()


@_needs_root
@pytest.mark.parametrize("kind", ["link", "of root", "pipe", "garbage"])
def test_only_a_regular_file_of_the_service_is_a_record(
    serving: int, of_service: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    path = of_service(serving)
    if kind == "link":
        os.rename(path, tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "of root":
        os.chown(path, 0, 0)
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
        os.chown(path, 65534, 65534)
    else:
        path.write_bytes(b"\xff{" + b"[" * 100_000)
    assert Registry(tmp_path / "own", tmp_path / "service").all() == []


def test_a_service_that_was_never_started_has_no_records(tmp_path: Path) -> None:
    assert Registry(tmp_path / "own", tmp_path / "service").all() == []
    assert Registry(tmp_path / "own", tmp_path / "service").find("/mnt/served") is None

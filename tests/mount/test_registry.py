import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hffs.mount.observing.sockets import open_socket
from hffs.mount.registry import Group, Record, Registry, find_state_folder, read_start_time


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

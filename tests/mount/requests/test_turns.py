"""Who answers is let in before who computes, which takes no privilege."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

import pytest

from hffs.mount.requests.turns import ask_for_short_turns
from tests.command import Hffs, Mount
from tests.mount.requests.test_siblings import children_of
from tests.view.conftest import encode, write_set

GET_ATTR = {"x86_64": 315, "aarch64": 275, "riscv64": 275}
SINCE = (6, 12)
ATTR = struct.Struct("=IIQiIQQQ")


def read_turn(pid: int) -> tuple[int, int]:
    """The slice of a process in nanoseconds, and its nice value."""
    room = ctypes.create_string_buffer(ATTR.size)
    number = GET_ATTR[platform.machine()]
    assert ctypes.CDLL(None).syscall(number, pid, room, ATTR.size, 0) == 0
    _, _, _, nice, _, slice_ns, _, _ = ATTR.unpack(room.raw)
    return slice_ns, nice


@pytest.fixture
def _has_slices() -> None:
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    if release < SINCE or platform.machine() not in GET_ATTR:
        pytest.skip("this kernel has no slices of EEVDF")


@pytest.mark.usefixtures("_has_slices")
@pytest.mark.parametrize("nice", [0, 7])
def test_turns_are_short_and_a_nice_value_stays(nice: int) -> None:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.nice(nice)
        ask_for_short_turns()
        os.write(theirs, b"%d %d" % read_turn(0))
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(ours, 100).split()
    os.close(ours)
    os.close(theirs)
    assert [int(each) for each in told] == [100_000, nice + os.nice(0)]


def test_nothing_is_asked_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "a machine of its own")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: pytest.fail("asked"))
    ask_for_short_turns()
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_BATCH)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: pytest.fail("asked"))
    ask_for_short_turns()


@pytest.mark.fuse
@pytest.mark.usefixtures("_has_slices")
def test_all_processes_that_answer_have_them(mount: Mount, hffs: Hffs, tmp_path: Path) -> None:
    folder = mount(write_set(tmp_path / "a.parquet", [encode("JPEG", 1)]), "--procs", "2")
    daemon = hffs.pid(folder)
    siblings = children_of(daemon)
    assert len(siblings) >= 2
    assert {read_turn(pid)[0] for pid in (daemon, *siblings)} == {100_000}

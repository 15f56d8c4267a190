"""Several entries of one file, each a real mount: up together, down together, nothing left."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hffs.mount.layers import read_shown
from hffs.mount.mountinfo import Health, check_health
from hffs.mount.registry import Group, Registry, read_start_time, read_state
from tests.command import Hffs
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

ROWS = {"art": 2, "cats": 3}

INTERRUPTED = """
import os, signal, sys
from hffs.cli import main
from hffs.mount.lifecycle import daemon
number, listen, heard = signal.Signals[sys.argv.pop(1)], daemon._listen, []
def interrupt(pipe, listener):
    heard.append(pipe)
    if len(heard) == 2:
        os.kill(os.getpid(), number)
    return listen(pipe, listener)
daemon._listen = interrupt
main()
"""

# What ends it comes once more, when the handlers of Python have been taken down.
STOPPED_TWICE = """
import os, signal, sys
from hffs.cli import main
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)
sys.last_of_all = Last()
main()
"""


def _image(entry: str, row: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40 + row, 32), (row, len(entry), 0)).save(file, "JPEG")
    return file.getvalue()


def _write(path: Path, entry: str, rows: int) -> None:
    columns = {
        "image": [{"bytes": _image(entry, row), "path": None} for row in range(rows)],
        "caption": [f"{entry} {row}" for row in range(rows)],
        "width": [40 + row for row in range(rows)],
    }
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mnt").mkdir()
    return tmp_path / "mnt"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A dataloader file with two data sets, and texts."""
    entries: list[dict[str, str]] = [{"type": "local", "dataset_type": "text_embeds", "id": "t"}]
    for name, rows in ROWS.items():
        _write(tmp_path / f"{name}.parquet", name, rows)
        entries.append({"id": name, "dataset_name": str(tmp_path / f"{name}.parquet")})
    (tmp_path / "loader.json").write_text(json.dumps(entries))
    return tmp_path / "loader.json"


def _add(config: Path, entry: dict[str, object]) -> None:
    config.write_text(json.dumps([*json.loads(config.read_text()), entry]))


def _lines(hffs: Hffs, folder: Path) -> dict[str, dict[str, object]]:
    """What `hffs ls` says of the mounts in a folder, by their names."""
    lines = json.loads(hffs("ls", "--json"))
    paths = {Path(line["mountpoint"]): line for line in lines}
    return {path.name: line for path, line in paths.items() if path.parent == folder}


def _registry(hffs: Hffs) -> Registry:
    return Registry(Path(hffs.environ["XDG_STATE_HOME"]) / "hffs")


def _pids(hffs: Hffs, folder: Path) -> dict[str, int]:
    records = {Path(record.mountpoint): record for record in _registry(hffs).all()}
    return {path.name: record.pid for path, record in records.items() if path.parent == folder}


def _mounted(folder: Path) -> list[Path]:
    return [p for m in read_shown() if (p := Path(m.mountpoint)).is_relative_to(folder)]


def _has_ended(pid: int) -> bool:
    return read_start_time(pid) is None


def _expect_nothing_left(hffs: Hffs, folder: Path, pids: dict[str, int]) -> None:
    assert [name for name, pid in pids.items() if not _has_ended(pid)] == []
    assert _mounted(folder) == []
    assert os.listdir(folder) == []
    state = Path(hffs.environ["XDG_STATE_HOME"]) / "hffs"
    assert [path.name for kind in ("mounts", "groups") for path in (state / kind).glob("*")] == [
        "lock"
    ]


def _expect_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("hffs: ")
    for word in words:
        assert word in line


def test_each_entry_is_a_mount_on_the_folder_of_its_id(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    done = hffs.run("mount", config, folder)
    assert done.stderr == "hffs: not mounted: t (its dataset_type is text_embeds)\n"
    assert done.returncode == 0
    assert sorted(os.listdir(folder)) == sorted(ROWS)
    for name, rows in ROWS.items():
        for row in range(rows):
            assert (folder / name / f"{row}.jpg").read_bytes() == _image(name, row)
            assert (folder / name / f"{row}.txt").read_text() == f"{name} {row}"
    lines = _lines(hffs, folder)
    assert {name: (line["rows"], line["group"]) for name, line in lines.items()} == {
        name: (rows, str(folder)) for name, rows in ROWS.items()
    }
    pids = _pids(hffs, folder)
    assert len(set(pids.values())) == 2
    hffs("umount", folder)
    _expect_nothing_left(hffs, folder, pids)


def test_flags_go_over_every_entry(hffs: Hffs, config: Path, folder: Path) -> None:
    hffs("mount", config, folder, "--min-width", "41", "--umask", "077")
    assert {name: line["rows"] for name, line in _lines(hffs, folder).items()} == {
        name: rows - 1 for name, rows in ROWS.items()
    }
    assert [(folder / name).stat().st_mode & 0o777 for name in ROWS] == [0o500] * 2
    hffs("umount", folder)


def test_one_entry_of_several_is_mounted_on_the_folder_itself(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    hffs("mount", config, folder, "--entry", "cats")
    assert (folder / "2.txt").read_text() == "cats 2"
    line = hffs.describe(folder)
    assert line is not None
    assert line["group"] is None
    _expect_line(hffs.run("mount", config, folder), 4, "fuse.hffs is mounted there already")
    hffs("umount", folder)


def test_they_go_one_by_one(hffs: Hffs, config: Path, folder: Path) -> None:
    hffs("mount", config, folder)
    pids = _pids(hffs, folder)
    hffs("umount", folder / "cats")
    assert os.listdir(folder) == ["art"]
    assert (folder / "art" / "0.txt").read_text() == "art 0"
    os.kill(pids["art"], signal.SIGTERM)
    wait_until(lambda: _has_ended(pids["art"]))
    _expect_nothing_left(hffs, folder, pids)


FAILING: list[tuple[dict[str, object], list[str], int, str]] = [
    ({"dataset_name": "/nowhere/x.parquet"}, [], 3, "entry bad: cannot"),
    ({"dataset_name": "/nowhere/x.parquet"}, ["--foreground"], 3, "entry bad: cannot"),
    ({"dataset_name": "ART", "filter_func": {"min_width": 999}}, [], 5, "entry bad: nothing is"),
    ({"dataset_name": "ART", "filter_func": {"min_width": 999}}, ["-f"], 5, "entry bad: nothing"),
    ({"dataset_name": "ART", "dataset_type": "video"}, [], 5, "entry bad: nothing is"),
]


@pytest.mark.parametrize(("entry", "flags", "code", "words"), FAILING)
def test_one_that_fails_takes_the_others_down_again(  # noqa: PLR0913 - fixtures and a row
    hffs: Hffs,
    config: Path,
    folder: Path,
    entry: dict[str, object],
    flags: list[str],
    code: int,
    words: str,
) -> None:
    text = json.dumps({"id": "bad", **entry}).replace("ART", str(config.parent / "art.parquet"))
    _add(config, json.loads(text))
    done = hffs.run("mount", config, folder, *flags)
    _expect_line(done, code, words)
    assert done.stderr.count("entry bad") == 1
    assert "Traceback" not in done.stderr
    assert os.listdir(folder) == []
    assert _mounted(folder) == []


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("foreground", [False, True])
def test_an_interrupt_while_starting_takes_all_down_again(
    hffs: Hffs, config: Path, folder: Path, number: str, foreground: bool
) -> None:
    flags = ["--foreground"] if foreground else []
    command = [sys.executable, "-c", INTERRUPTED, number, "mount", str(config), str(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=hffs.environ, check=False)
    _expect_line(done, 130, "interrupted")
    assert "Traceback" not in done.stderr
    _expect_nothing_left(hffs, folder, {})


def test_the_same_place_is_not_taken_twice(hffs: Hffs, config: Path, folder: Path) -> None:
    hffs("mount", config, folder)
    again = hffs.run("mount", config, folder)
    _expect_line(again, 4, f"{folder}: fuse.hffs is mounted in it already: art, cats; `hffs umount")
    assert again.stderr.count("\n") == 1
    one = hffs.run("mount", config, folder, "--entry", "art")
    _expect_line(one, 4, "the folder is not empty")
    assert (folder / "art" / "1.txt").read_text() == "art 1"
    assert {line["health"] for line in _lines(hffs, folder).values()} == {"ok"}
    hffs("umount", folder)
    assert os.listdir(folder) == []


def test_one_in_use_stays_and_holds_up_none_of_the_others(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    hffs("mount", config, folder)
    pids = _pids(hffs, folder)
    with (folder / "cats" / "0.jpg").open("rb") as file:
        done = hffs.run("umount", folder)
        _expect_line(done, 4, f"1 of 2 mounts in {folder}: cats: it is in use; close")
        assert done.stderr.count("\n") == 1
        assert os.listdir(folder) == ["cats"]
        assert file.read() == _image("cats", 0)
    hffs("umount", folder)
    _expect_nothing_left(hffs, folder, pids)


def test_force_cuts_off_who_uses_them(
    hffs: Hffs, config: Path, folder: Path, hold_open: Callable[[Path], None]
) -> None:
    hffs("mount", config, folder)
    pids = _pids(hffs, folder)
    hold_open(folder / "cats" / "0.jpg")
    hold_open(folder / "art" / "0.jpg")
    hffs("umount", "--force", folder)
    _expect_nothing_left(hffs, folder, pids)


@pytest.mark.parametrize("killed", [["cats"], list(ROWS)])
def test_what_was_killed_is_seen_and_unmounted(
    hffs: Hffs, config: Path, folder: Path, killed: list[str]
) -> None:
    hffs("mount", config, folder)
    pids = _kill(hffs, folder, killed)
    lines = _lines(hffs, folder)
    assert {name: line["group"] for name, line in lines.items()} == dict.fromkeys(ROWS, str(folder))
    hffs("umount", folder)
    _expect_nothing_left(hffs, folder, pids)


def test_after_all_were_killed_the_next_mount_takes_their_place(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    hffs("mount", config, folder)
    _kill(hffs, folder, list(ROWS))
    config.write_text(config.read_text().replace('"cats"', '"kittens"'))
    hffs("mount", config, folder)
    assert sorted(os.listdir(folder)) == ["art", "kittens"]
    pids = _pids(hffs, folder)
    hffs("umount", folder)
    _expect_nothing_left(hffs, folder, pids)


def test_after_one_was_killed_the_others_are_unmounted_first(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    hffs("mount", config, folder)
    pids = _kill(hffs, folder, ["cats"])
    _expect_line(hffs.run("mount", config, folder), 4, "in it already: art;")
    hffs("umount", folder / "cats")
    assert os.listdir(folder) == ["art"]
    hffs("umount", folder)
    _expect_nothing_left(hffs, folder, pids)


def _kill(hffs: Hffs, folder: Path, names: list[str]) -> dict[str, int]:
    """Kill some members; the pids of all."""
    pids = _pids(hffs, folder)
    for name in names:
        os.kill(pids[name], signal.SIGKILL)
    wait_until(
        lambda: all(check_health(str(folder / name)) is Health.DEAD for name in names),
    )
    return pids


def test_a_daemon_keeps_nothing_of_the_others(hffs: Hffs, config: Path, folder: Path) -> None:
    hffs("mount", config, folder)
    for name, pid in _pids(hffs, folder).items():
        held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        others = [other for other in ROWS if other != name]
        assert not [what for what in held if any(f"{o}.parquet" in what for o in others)]
        assert not [what for what in held if "/groups/" in what]
        beside = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert held.count("/dev/fuse") == 1 + len(beside)  # a clone for each that answers
        logs = {what for what in held if what.endswith(".log")}
        assert logs == {f"{hffs.environ['XDG_STATE_HOME']}/hffs/logs/{name}.log"}
        # What is left of pipes is the daemon's own: both ends of one are in it.
        pipes = [what for what in held if what.startswith("pipe:")]
        assert all(pipes.count(what) == 2 for what in pipes)
    hffs("umount", folder)


def test_folders_that_were_there_stay(hffs: Hffs, config: Path, folder: Path) -> None:
    (folder / "cats").mkdir(0o700)
    hffs("mount", config, folder)
    hffs("umount", folder)
    assert os.listdir(folder) == ["cats"]
    (folder / "cats" / "mine").touch()
    _expect_line(hffs.run("mount", config, folder), 4, "cats: the folder is not empty (mine")
    assert os.listdir(folder) == ["cats"]


def test_what_lies_below_is_named_where_no_group_is_known(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    (folder / "x").mkdir()
    hffs("mount", config, folder / "x", "--entry", "art")
    _expect_line(
        hffs.run("umount", folder), 4, f"nothing is mounted there; below it are {folder}/x"
    )
    _expect_line(hffs.run("mount", config, folder), 4, "already: x; `hffs umount", "/x` first")
    hffs("umount", folder / "x")
    assert os.listdir(folder) == ["x"]


@contextmanager
def _foreground(hffs: Hffs, config: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hffs", "mount", "--foreground", str(config), str(folder)]
    process = subprocess.Popen(command, env=hffs.environ, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: _has_started(hffs, folder))
        yield process
    finally:
        process.kill()
        process.communicate()
        hffs.run("umount", "--force", folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground_a_signal_ends_all(
    hffs: Hffs, config: Path, folder: Path, number: signal.Signals
) -> None:
    with _foreground(hffs, config, folder) as process:
        pids = _pids(hffs, folder)
        process.send_signal(number)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        assert f"INFO {number.name}: unmounting all" in said
        for name in ROWS:
            assert f"INFO {name}: mounted " in said
            assert f"INFO {name}: unmounted " in said
        _expect_nothing_left(hffs, folder, pids)


def test_in_the_foreground_ctrl_c_reaches_all_of_them_and_that_is_fine(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    with _foreground(hffs, config, folder) as process:
        pids = _pids(hffs, folder)
        for pid in (process.pid, *pids.values()):
            os.kill(pid, signal.SIGINT)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        _expect_nothing_left(hffs, folder, pids)


@pytest.mark.parametrize("flags", [[], ["--entry", "art"]])
def test_regression_a_signal_at_the_very_end_is_no_failure(
    hffs: Hffs, config: Path, folder: Path, flags: list[str]
) -> None:
    mount = ["mount", "--foreground", str(config), str(folder), *flags]
    command = [sys.executable, "-c", STOPPED_TWICE, *mount]
    with subprocess.Popen(command, env=hffs.environ, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(_registry(hffs).all()) if flags else _has_started(hffs, folder))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def _may_be_reaped(pid: int) -> bool:
    """Whether a process has ended with the last of its threads, and waits for its parent."""
    return read_state(pid) == "Z" and len(os.listdir(f"/proc/{pid}/task")) == 1


def test_regression_a_signal_that_comes_when_all_have_ended_is_no_failure(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    with _foreground(hffs, config, folder) as process:
        pids = _pids(hffs, folder)
        process.send_signal(signal.SIGSTOP)  # it takes one of the two, and finds all ended
        for pid in pids.values():
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: all(map(_may_be_reaped, pids.values())))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            process.send_signal(number)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        _expect_nothing_left(hffs, folder, pids)


@pytest.mark.parametrize("place", ["cats", "."])
def test_in_the_foreground_all_end_with_one(
    hffs: Hffs, config: Path, folder: Path, place: str
) -> None:
    with _foreground(hffs, config, folder) as process:
        pids = _pids(hffs, folder)
        hffs("umount", folder / place)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        assert "is unmounted: unmounting all" in said
        _expect_nothing_left(hffs, folder, pids)


def test_in_the_foreground_all_end_with_one_that_is_killed(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    with _foreground(hffs, config, folder) as process:
        pids = _pids(hffs, folder)
        os.kill(pids["cats"], signal.SIGKILL)
        _, said = process.communicate(timeout=100)
        assert process.returncode == 4, said
        assert said.splitlines()[-1] == "hffs: lost the mount of entry cats (SIGKILL)"
        _expect_nothing_left(hffs, folder, pids)


def test_in_the_foreground_none_outlives_the_supervisor(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    with _foreground(hffs, config, folder) as process:
        pids = _pids(hffs, folder)
        process.kill()
        wait_until(lambda: all(map(_has_ended, pids.values())))
        assert os.listdir(folder) == []
        _expect_nothing_left(hffs, folder, pids)


def _has_started(hffs: Hffs, folder: Path) -> bool:
    group = _registry(hffs).find_group(str(folder))
    return group is not None and not group.is_starting()


def test_what_is_still_starting_is_left_alone(hffs: Hffs, config: Path, folder: Path) -> None:
    registry, me = _registry(hffs), os.getpid()
    started = read_start_time(me) or 0
    registry.put_group(Group(str(folder), ("art",), ("art",), me, started, starting=True))
    (folder / "art").mkdir()
    _expect_line(hffs.run("mount", config, folder), 4, f"process {me} is mounting in it; wait")
    _expect_line(hffs.run("umount", "--force", folder), 4, f"process {me} is still mounting")
    assert os.listdir(folder) == ["art"]


def test_what_a_killed_start_left_is_no_obstacle(hffs: Hffs, config: Path, folder: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = Group(str(folder), ("art", "old"), ("art", "old"), ended.pid, 1, starting=True)
    _registry(hffs).put_group(left)
    (folder / "art").mkdir()
    (folder / "old").mkdir()
    hffs("mount", config, folder)
    assert sorted(os.listdir(folder)) == sorted(ROWS)
    pids = _pids(hffs, folder)
    hffs("umount", folder)
    _expect_nothing_left(hffs, folder, pids)


def test_a_link_in_the_place_of_a_folder_is_refused(
    hffs: Hffs, config: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "cats").symlink_to(tmp_path / "elsewhere")
    _expect_line(hffs.run("mount", config, folder), 4, "the folder is not empty (cats is in it)")
    assert os.listdir(folder) == ["cats"]
    (folder / "cats").unlink()
    (folder / "more").touch()
    _expect_line(hffs.run("mount", config, folder), 4, "the folder is not empty (more is in it)")
    _expect_line(hffs.run("mount", config, folder / "none"), 4, "no such folder")
    assert os.listdir(folder) == ["more"]


def test_a_mount_by_itself_in_a_killed_members_place_is_not_the_groups(
    hffs: Hffs, config: Path, folder: Path
) -> None:
    hffs("mount", config, folder)
    _kill(hffs, folder, ["cats"])
    hffs("mount", config, folder / "cats", "--entry", "art")
    hffs("umount", folder)
    assert os.listdir(folder) == ["cats"]
    assert (folder / "cats" / "1.txt").read_text() == "art 1"
    hffs("umount", folder / "cats")
    assert _registry(hffs).find_group(str(folder)) is None

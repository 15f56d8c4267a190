"""Functions of the user's in real worker processes: what they are given, and how they fail."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.filters import function
from hffs.data.filters.function import apply_row_filter
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError, DataError
from tests.waiting import wait_until

Write = Callable[[str], None]


def make_source(folder: Path, **columns: Sequence[Any] | pa.Array) -> Source:
    pq.write_table(pa.table(columns), folder / "set.parquet")
    return open_source(locate(str(folder / "set.parquet")))


def call(source: Source, function: str, *rows: int, workers: int = 1) -> list[bool]:
    wanted = np.array(rows or range(source.rows), np.int64)
    answers: list[bool] = apply_row_filter(
        source, function, wanted, workers, lambda done, total: None
    ).tolist()
    return answers


def refusal(source: Source, function: str = "mine:keep", workers: int = 1) -> str:
    with pytest.raises(ConfigError) as caught:
        call(source, function, workers=workers)
    line = str(caught.value).removeprefix(f"cannot use filter_func.python {function}: ")
    return line.replace(source.name, "SET")


def is_running(pid: int) -> bool:
    """Whether a process is there and not just waiting for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the module `mine` into the folder that this test then runs in."""
    folder = tmp_path / "started"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def write_module(code: str) -> None:
        Path("mine.py").write_text(code)

    return write_module


@pytest.fixture
def numbers(tmp_path: Path) -> Source:
    return make_source(tmp_path, n=range(20))


def test_a_function_sees_metadata_as_plain_values(tmp_path: Path, write: Write) -> None:
    source = make_source(
        tmp_path,
        image=[{"bytes": b"x", "path": "a"}] * 2,
        thumb=[b"x", b"y"],
        text=["é", None],
        n=pa.array([1, 2], pa.int8()),
        label=pa.array(["a", "b"]).dictionary_encode(),
        many=[["a"], []],
        meta=[{"k": {"l": 1.5}}, None],
        when=pa.array([0, None], pa.timestamp("us")),
        day=pa.array([1, 1], pa.date32()),
    )
    write(
        "import datetime\n"
        "FIRST = dict(text='é', n=1, label='a', many=['a'], meta={'k': {'l': 1.5}},\n"
        "    when=datetime.datetime(1970, 1, 1), day=datetime.date(1970, 1, 2))\n"
        "SECOND = dict(text=None, n=2, label='b', many=[], meta=None, when=None,\n"
        "    day=datetime.date(1970, 1, 2))\n"
        "def first(row): return row == FIRST\n"
        "def second(row): return row == SECOND\n"
    )
    assert call(source, "mine:first") == [True, False]
    assert call(source, "mine:second") == [False, True]


def test_only_the_wanted_rows_are_given_each_once(numbers: Source, write: Write) -> None:
    write(
        "def keep(row):\n"
        "    with open('seen', 'a') as file: file.write(f\"{row['n']}\\n\")\n"
        "    return row['n'] % 3 == 0\n"
    )
    assert call(numbers, "mine:keep", 1, 3, 4, 9, 19) == [False, True, False, True, False]
    assert Path("seen").read_text().split() == ["1", "3", "4", "9", "19"]


def test_many_chunks_of_several_shards_come_back_in_order(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_CHUNK_ROWS", 3)
    for shard in range(3):
        table = pa.table({"n": range(100 * shard, 100 * shard + 50)})
        pq.write_table(table, tmp_path / f"{shard}.parquet")
    source = open_source(locate(str(tmp_path / "*.parquet")))
    write("import numpy\ndef keep(row): return numpy.bool_(row['n'] % 7 < 3)\n")
    rows = np.flatnonzero(np.arange(150) % 4 != 1)
    steps: list[tuple[int, int]] = []
    answers = apply_row_filter(source, "mine:keep", rows, 3, lambda *step: steps.append(step))
    assert answers.tolist() == [(row // 50 * 100 + row % 50) % 7 < 3 for row in rows.tolist()]
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert steps[-1] == (len(rows), len(rows))


def test_it_runs_in_processes_of_its_own(
    numbers: Source, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_CHUNK_ROWS", 10)
    write(
        "import os, time\n"
        f"def apart(row): return os.getpid() != {os.getpid()}\n"
        "def both(row):\n"
        "    open(str(os.getpid()), 'w')\n"
        "    while sum(name.isdigit() for name in os.listdir()) < 2: time.sleep(0.01)\n"
        "    return True\n"
    )
    assert all(call(numbers, "mine:apart"))
    assert all(call(numbers, "mine:both", workers=2))


@pytest.mark.parametrize("stream", ["print('said')", "__import__('os').write(1, b'said\\n')"])
def test_what_it_prints_is_not_hffs_output(
    numbers: Source, write: Write, capfd: pytest.CaptureFixture[str], stream: str
) -> None:
    write(f"{stream}\ndef keep(row):\n    {stream}\n    return True\n")
    assert call(numbers, "mine:keep", 0, 1) == [True, True]
    assert capfd.readouterr() == ("", "said\n" * 3)


def test_it_reads_nothing_from_the_terminal(numbers: Source, write: Write) -> None:
    write("import sys\ndef keep(row): return sys.stdin.read() == ''\n")
    assert call(numbers, "mine:keep", 0) == [True]


def test_modules_are_found_where_python_finds_them(
    tmp_path: Path, numbers: Source, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    (library / "deep").mkdir(parents=True)
    (library / "deep/inner.py").write_text("def keep(row): return row['n'] == 1\n")
    (library / "mine.py").write_text("def keep(row): return False\n")
    monkeypatch.syspath_prepend(library)
    assert call(numbers, "deep.inner:keep", 0, 1) == [False, True]
    write("def keep(row): return True\n")
    assert call(numbers, "mine:keep", 0) == [True]  # the folder that hffs was started in wins


@pytest.mark.parametrize("name", ["json", "numpy", "pyarrow", "hffs"])
def test_files_beside_it_do_not_stand_in_for_what_hffs_imports(
    numbers: Source, write: Write, name: str
) -> None:
    Path(f"{name}.py").write_text("raise SystemExit\n")
    write("def keep(row): return True\n")
    assert call(numbers, "mine:keep", 0) == [True]


BODIES = [
    ("raise KeyError('tags')", "on row 0 of SET it raised KeyError: 'tags' (mine.py, line 2)"),
    ("return row['x']", "on row 0 of SET it raised KeyError: 'x' (mine.py, line 2)"),
    ("return row['n'] / 0", "raised ZeroDivisionError: division by zero (mine.py, line 2)"),
    ("import json; json.loads('')", "line 1 column 1 (char 0) (mine.py, line 2)"),
    ("return keep(row)", "it raised RecursionError: maximum recursion depth exceeded"),
    ("raise ValueError", "it raised ValueError (mine.py, line 2)"),
    ("raise ValueError('\\033[31ma\\nb\\ud800' + 'x' * 9999)", "ValueError: [31ma b xxx"),
    ("raise KeyboardInterrupt", "on row 0 of SET it raised KeyboardInterrupt (mine.py"),
    ("raise EOFError", "on row 0 of SET it raised EOFError (mine.py"),
    ("import sys; sys.exit(3)", "on row 0 of SET it called sys.exit(3) (mine.py"),
    ("return None", "on row 0 of SET it returned None, not a bool"),
    ("pass", "on row 0 of SET it returned None, not a bool"),
    ("return 1", "on row 0 of SET it returned int, not a bool"),
    ("return 'yes'", "on row 0 of SET it returned str, not a bool"),
    ("return row['n'] < 3 or 5", "on row 3 of SET it returned int, not a bool"),
    ("import os; os._exit(7)", "its process ended (exit code 7) in rows 0 to 19 of SET"),
    ("import os; os._exit(0)", "its process ended (exit code 0) in rows 0 to 19 of SET"),
    ("import os; os.kill(os.getpid(), 9)", "its process was killed (SIGKILL) in rows 0 to 19"),
    ("import os; os.kill(os.getpid(), 40)", "its process was killed (signal 40) in rows 0 to"),
]


@pytest.mark.parametrize(("body", "words"), BODIES)
def test_a_function_that_fails_is_one_line(
    numbers: Source, write: Write, body: str, words: str
) -> None:
    write(f"def keep(row):\n    {body}\n")
    line = refusal(numbers)
    assert words in line
    assert line.isprintable()
    assert len(line) < 500


MODULES = [
    ("", "mine has no keep"),
    ("def kep(row): pass", "mine has no keep; did you mean kep?"),
    ("keep = 3", "it is int, not a function"),
    ("keep = None", "it is None, not a function"),
    ("import nothere", "importing it raised ModuleNotFoundError: No module named 'nothere' (mine"),
    ("\n1 / 0", "importing it raised ZeroDivisionError: division by zero (mine.py, line 2)"),
    ("def keep(row:", "importing it raised SyntaxError: '(' was never closed (mine.py, line 1)"),
    ("exit(2)", "importing it called sys.exit(2)"),
    ("import os; os._exit(4)", "its process ended (exit code 4) while it was imported"),
    ("def keep(): return True", "it raised TypeError: keep() takes 0 positional arguments but 1"),
]


@pytest.mark.parametrize(("code", "words"), MODULES)
def test_a_module_that_cannot_be_used_is_one_line(
    numbers: Source, write: Write, code: str, words: str
) -> None:
    write(code)
    assert words in refusal(numbers, workers=2)


@pytest.mark.parametrize("module", ["gone", "gone.inner", "mine.inner"])
def test_a_module_that_is_missing_says_where_it_was_looked_for(
    numbers: Source, write: Write, module: str
) -> None:
    write("")
    missing = module.partition(".")[0] if module.startswith("gone") else module
    expected = f"there is no module {missing} in {os.getcwd()} or on Python's path"
    assert refusal(numbers, f"{module}:keep") == expected


def test_a_function_is_looked_for_even_if_no_row_is_left(numbers: Source, write: Write) -> None:
    write("def kep(row): return True")
    none = np.array([], np.int64)
    with pytest.raises(ConfigError, match="did you mean kep"):
        apply_row_filter(numbers, "mine:keep", none, 2, lambda done, total: None)
    assert not len(apply_row_filter(numbers, "mine:kep", none, 2, lambda done, total: None))


def test_a_set_of_nothing_but_images_has_nothing_to_call_it_with(tmp_path: Path) -> None:
    source = make_source(tmp_path, image=[b"x"])
    assert refusal(source) == "SET has no columns but images"


def test_text_that_is_not_utf8_is_repaired(tmp_path: Path, write: Write) -> None:
    raw = pa.array([b"a\xff", b"b"], pa.binary())
    bad = pa.StringArray.from_buffers(2, *raw.buffers()[1:])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), bad)
    structs = pa.StructArray.from_arrays([lists, pa.array([1, 2])], ["k", "n"])
    source = make_source(tmp_path, t=bad, s=structs)
    write("def keep(row): return row == {'t': 'a\\ufffd', 's': {'k': ['a\\ufffd'], 'n': 1}}\n")
    assert call(source, "mine:keep") == [True, False]


def test_values_that_python_does_not_have_are_the_datas_fault(tmp_path: Path, write: Write) -> None:
    source = make_source(tmp_path, when=pa.array([2**58], pa.timestamp("ms")))
    write("def keep(row): return True\n")
    with pytest.raises(DataError, match=r"cannot read rows 0 to 0 of .*: turning them into values"):
        call(source, "mine:keep")


def test_what_a_function_started_ends_with_it(numbers: Source, write: Write) -> None:
    write(
        "import subprocess\n"
        "def keep(row):\n"
        "    child = subprocess.Popen(['sleep', '1000'])\n"
        "    open('pid', 'w').write(str(child.pid))\n"
        "    raise ValueError\n"
    )
    assert "ValueError" in refusal(numbers)
    wait_until(lambda: not is_running(int(Path("pid").read_text())))


def test_a_thread_that_never_ends_holds_nothing_up(
    numbers: Source, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_GRACE_S", 0.2)
    write(
        "import os, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        "def keep(row): return True\n"
    )
    assert call(numbers, "mine:keep", 0) == [True]
    assert not is_running(int(Path("pid").read_text()))


def test_exit_handlers_run(numbers: Source, write: Write) -> None:
    write("import atexit\natexit.register(open, 'left', 'w')\ndef keep(row): return True\n")
    assert call(numbers, "mine:keep", 0) == [True]
    assert Path("left").exists()


def test_a_worker_that_closes_its_socket_is_told(
    numbers: Source, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_GRACE_S", 0.2)
    write(
        "import os, time\n"
        "def keep(row):\n    os.closerange(3, 1 << 16)\n    time.sleep(1000)\n"
        "def lie(row):\n"
        "    from multiprocessing.connection import Connection\n"
        "    for fd in set(map(int, os.listdir('/proc/self/fd'))) - {0, 1, 2}:\n"
        "        try: Connection(os.dup(fd)).send_bytes(b'+')\n"
        "        except OSError: pass\n"
        "    time.sleep(1000)\n"
    )
    assert refusal(numbers).startswith("it closed the socket to hffs in rows 0 to 19")
    assert "in rows 0 to 19" in refusal(numbers, "mine:lie")


SLOW = (
    "import os, time\n"
    "def keep(row):\n"
    "    open(f'pid{os.getpid()}', 'w')\n"
    "    while row['n'] % 10: time.sleep(1)\n"
    "    return True\n"
)


def started() -> list[int]:
    """Workers that are calling `SLOW`."""
    return [int(path.name.removeprefix("pid")) for path in Path.cwd().glob("pid*")]


def test_an_interrupt_ends_every_worker_at_once(
    numbers: Source, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "_CHUNK_ROWS", 1)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    write(SLOW)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        apply_row_filter(numbers, "mine:keep", np.arange(20), 2, interrupt)
    assert time.monotonic() - begin < 20
    assert started()
    assert not any(map(is_running, started()))


DRIVER = """
import sys
import numpy as np
from hffs.data.locating.local import locate
from hffs.data.filters.function import apply_row_filter
from hffs.data.source import open_source
source = open_source(locate(sys.argv[1]))
apply_row_filter(source, "mine:keep", np.arange(1, 9), 1, print)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_is_left_when_hffs_is_killed(
    numbers: Source, write: Write, number: signal.Signals
) -> None:
    write(SLOW)
    environ = os.environ | {"PYTHONPATH": str(Path(function.__file__).parents[3])}
    command = [sys.executable, "-c", DRIVER, numbers.name]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as driver:
        wait_until(lambda: bool(started()))
        driver.send_signal(number)
    assert driver.returncode != 0
    wait_until(lambda: not any(map(is_running, started())))


def test_times_are_those_of_python(tmp_path: Path, write: Write) -> None:
    noon = datetime.datetime(2024, 5, 6, 12, tzinfo=datetime.UTC)
    source = make_source(tmp_path, when=pa.array([noon], pa.timestamp("ms", "UTC")))
    write("def keep(row): return row['when'].year == 2024 and row['when'].hour == 12\n")
    assert call(source, "mine:keep") == [True]

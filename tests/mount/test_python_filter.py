"""`filter_func.python` through real mounts: where it is found, how it fails, what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import hffs as hffs_package
from tests.command import Hffs, Mount
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse


@pytest.fixture(autouse=True)
def _same_hffs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are started in another folder are still those of this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(Path(hffs_package.__file__).parents[1]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    image = tmp_path / "image.jpg"
    Image.new("RGB", (48, 32), "red").save(image)
    cells = [{"bytes": image.read_bytes(), "path": None}] * 10
    table = pa.table({"image": cells, "caption": [f"row {n}" for n in range(10)], "n": range(10)})
    pq.write_table(table, tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the module `mine` is written to: the folder that commands are started in."""
    folder = tmp_path / "started"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder / "mine.py"


def rows_of(folder: Path) -> list[int]:
    """Rows of the source that a mount shows, in order."""
    names = sorted(folder.glob("*.txt"), key=lambda path: int(path.stem))
    return [int(path.read_text().removeprefix("row ")) for path in names]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_function_is_asked_anew_at_each_mount(
    mount: Mount, hffs: Hffs, source: Path, module: Path
) -> None:
    module.write_text("def keep(row): return row['n'] > 6\n")
    first = mount(source, "--python", "mine:keep")
    assert rows_of(first) == [7, 8, 9]
    fingerprint = (hffs.describe(first) or {})["fingerprint"]
    module.write_text("import numpy\ndef keep(row): return numpy.bool_(row['n'] < 2)\n")
    assert rows_of(mount(source, "--python", "mine:keep")) == [0, 1]
    assert rows_of(first) == [7, 8, 9]
    module.write_text("def keep(row): return row['n'] in (7, 8, 9)\n")
    again = mount(source, "--python", "mine:keep", "--num-proc", "1")
    assert (hffs.describe(again) or {})["fingerprint"] == fingerprint


@pytest.mark.parametrize("form", ["json", "toml"])
def test_a_function_and_a_sample_of_a_file(
    mount: Mount, source: Path, module: Path, form: str
) -> None:
    module.write_text("def keep(row): return row['n'] != 5\n")
    config = module.with_name(f"photos.{form}")
    block = {"filter_func": {"python": "mine:keep"}, "max_num_samples": 4, "seed": 2}
    entry = {"dataset_name": str(source), "huggingface": block}
    config.write_text(
        json.dumps(entry)
        if form == "json"
        else f'dataset_name = "{source}"\nmax_num_samples = 4\nseed = 2\n'
        '[filter_func]\npython = "mine:keep"\n'
    )
    flags = ("--python", "mine:keep", "--max-num-samples", "4", "--seed", "2")
    rows = rows_of(mount(config))
    assert len(rows) == 4
    assert 5 not in rows
    assert rows_of(mount(source, *flags)) == rows


FAILURES = [
    ("", "mine:keep: mine has no keep"),
    ("1 / 0", "importing it raised ZeroDivisionError: division by zero (mine.py, line 1)"),
    ("def keep(row): return row['x']", "on row 0 of "),
    ("def keep(row): return 'yes'", "it returned str, not a bool"),
    ("import os\ndef keep(row): os._exit(0)", "its process ended (exit code 0) in rows 0 to 9"),
    ("import os\ndef keep(row): os.kill(os.getpid(), 9)", "its process was killed (SIGKILL)"),
    ("print('x')\ndef keep(row): print('y')", "it returned None, not a bool"),
]


@pytest.mark.parametrize("stay", [(), ("--foreground",)])
@pytest.mark.parametrize(("code", "words"), FAILURES)
def test_a_function_that_fails_is_one_line(  # noqa: PLR0913 - two rows of tables, three fixtures
    hffs: Hffs, source: Path, module: Path, code: str, words: str, stay: tuple[str, ...]
) -> None:
    module.write_text(code)
    place = module.with_name("mnt")
    place.mkdir()
    done = hffs.run("mount", source, place, "--python", "mine:keep", *stay)
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if line.startswith("hffs: ")]
    assert len(lines) == 1
    assert words in lines[0]
    if not stay:
        assert done.stderr == f"{lines[0]}\n"
    assert hffs.describe(place) is None


def test_what_it_prints_is_in_the_log(mount: Mount, hffs: Hffs, source: Path, module: Path) -> None:
    module.write_text("def keep(row):\n    print('said', row['n'])\n    return True\n")
    mount(source, "--python", "mine:keep")
    assert "said 9" in hffs.log()


SLOW = """
import os, time
def keep(row):
    open(f"pid{os.getpid()}", "w")
    time.sleep(1000)
"""


@pytest.fixture(params=[(), ("--foreground",)])
def waiting(
    request: pytest.FixtureRequest, hffs: Hffs, source: Path, module: Path
) -> Iterator[subprocess.Popen[str]]:
    """A mount that waits for a function that does not return, in a process group of its own."""
    module.write_text(SLOW)
    place = module.with_name("mnt")
    place.mkdir()
    command = [sys.executable, "-m", "hffs", "mount", str(source), str(place)]
    with subprocess.Popen(
        [*command, "--python", "mine:keep", *request.param],
        env=hffs.environ,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_until(lambda: bool(_workers(module.parent)))
            yield process
        finally:
            process.kill()


def _workers(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("pid")) for path in folder.glob("pid*")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_worker_outlives_an_interrupted_mount(
    waiting: subprocess.Popen[str], hffs: Hffs, module: Path, number: signal.Signals
) -> None:
    os.killpg(waiting.pid, number)  # as a terminal does
    _, told = waiting.communicate(timeout=100)
    assert waiting.returncode == 130
    if "--foreground" in str(waiting.args):  # what the child logs may stand in between
        assert "hffs: interrupted\n" in told
        assert "Traceback" not in told
    else:
        assert told == "hffs: interrupted\n"
    wait_until(lambda: not any(map(is_running, _workers(module.parent))))
    assert hffs.describe(module.with_name("mnt")) is None

"""Standard streams that whoever started the command has closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.command import Hffs

LOOK = """
import os, sys
from hffs.cli.streams import open_missing
open_missing()
print("lost", file=sys.stderr)
file = open("/proc/self/stat")
print(os.readlink("/proc/self/fd/2"), os.get_inheritable(2), file.fileno() > 2)
"""


def _run_closed(
    *arguments: str | Path, environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", 'exec "$@" 0<&- 2>&-', "sh", sys.executable, *arguments]
    return subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, text=True, timeout=100, check=False
    )


def test_regression_a_closed_stream_leads_nowhere(tmp_path: Path) -> None:
    environ = Hffs.below(tmp_path).environ
    assert _run_closed("-c", LOOK, environ=environ).stdout == "/dev/null True True\n"


def test_regression_a_command_without_a_standard_error_ends_as_ever(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    command = ("-m", "hffs", "mount", tmp_path / "none.parquet", tmp_path / "mnt")
    done = _run_closed(*command, environ=Hffs.below(tmp_path).environ)
    assert (done.returncode, done.stdout) == (3, "")

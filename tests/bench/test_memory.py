"""That the benchmark measures what it says, on few rows; no figure is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.bench import memory as bench
from tests.bench.suite_memory import judge_memory


def test_rows_are_as_many_as_were_asked_for(tmp_path: Path) -> None:
    bench.write_rows(tmp_path / "few.parquet", 7)
    assert pq.read_metadata(tmp_path / "few.parquet").num_rows == 7
    bench.write_rows(tmp_path / "more.parquet", bench.GROUP + 1)
    metadata = pq.read_metadata(tmp_path / "more.parquet")
    assert (metadata.num_rows, metadata.num_row_groups) == (bench.GROUP + 1, 2)


def test_memory_is_that_of_all_descendants() -> None:
    alone = bench.read_memory(os.getpid())
    held = "held = bytearray(2 ** 26); print(flush=True); input()"
    started = (sys.executable, "-c", held)
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = bench.read_memory(os.getpid())
        child.communicate(b"\n")
    assert both["anonymous_bytes"] - alone["anonymous_bytes"] > 2**26 - 2**23


@pytest.mark.fuse
def test_figures_of_a_small_mount() -> None:
    (found,) = bench.measure([20])
    assert found["names"] == 40
    assert found["epoch 3 pss_bytes"] > found["epoch 3 anonymous_bytes"] > 0
    assert found["known mount_s"] > 0
    assert None not in judge_memory([found]).tables[1].rows[0][1][:-1]
    assert "known mount" in bench.render_table([found])

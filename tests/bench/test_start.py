"""That the benchmark runs what it says; no time is asserted."""

from __future__ import annotations

import pytest

from tests.bench import start as bench


@pytest.mark.fuse
def test_every_command_is_timed() -> None:
    runs = bench.run(1)
    assert runs.keys() >= bench.GOALS_S.keys() | {"first mount", "umount"}
    assert all(each.wall_s > 0 for taken in runs.values() for each in taken)
    assert [line.split()[-1] for line in bench.render_table(runs).splitlines()][3] == "0.2"

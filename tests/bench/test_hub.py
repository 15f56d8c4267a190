"""That the benchmark does what it says; it times nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import hub as bench
from tests.hub import HubServer


@pytest.mark.fuse
def test_a_round_is_timed_and_summed_up(hub: HubServer, tmp_path: Path) -> None:
    shards = bench.write_shards(tmp_path, 10, 20_000)
    hub.add(bench.REPO).write_all({f"data/{path.name}": path for path in shards})
    contest = bench.Bench(hub, tmp_path)
    contest.download()
    hub.clear()
    summary = bench.summarize(bench.run(contest, 1))
    assert hub.sent_bytes("GET .*/resolve/.*parquet") == 0
    first = summary["load_dataset, first"] / summary["hffs, first"]
    assert summary["load_dataset / hffs, first"] == first
    assert contest.disk_bytes("datasets") > contest.disk_bytes("hub") // 2
    assert contest.disk_bytes("xdg") > 0

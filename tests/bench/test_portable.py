"""That the benchmark of recorded views mounts the same view both ways; it times nothing."""

from pathlib import Path

import pytest

from tests.bench import portable as bench


@pytest.mark.fuse
def test_a_recorded_view_asks_for_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = bench.run(tmp_path, 2000, 1)
    assert set(summary) == set(bench.CASES)
    assert summary["here, measured"]["images"] == 1000
    streamed = summary["streamed, where"]
    assert streamed["view, requests"] == 1
    assert streamed["mount, requests"] > bench.SHARDS
    bench.show(summary)
    assert "streamed, where" in capsys.readouterr().out

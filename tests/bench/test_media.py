"""That the benchmark of far videos reads the same frames in every way; it times nothing."""

from pathlib import Path

import pytest

from tests.bench import media as bench


@pytest.mark.fuse
def test_a_mount_fetches_less_than_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = bench.run(tmp_path, 12, 1, 0)
    size = summary["video"]["bytes"]
    assert summary["download"]["bytes"] >= size
    for name in ("mount, folder", "mount, table"):
        assert summary[name]["bytes"] < size / 2
        assert summary[name]["again, bytes"] == 0
    bench.show(summary)
    assert "mount, table" in capsys.readouterr().out

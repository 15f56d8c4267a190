"""That the examples of the documentation do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from hffs.core.types import Size
from tests.train.planning import write_images

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
def test_a_toy_learns_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = [Size(75, 100), Size(100, 75), Size(90, 110)]
    write_images(tmp_path, {f"{n}.jpg": shapes[n % 3] for n in range(40)})
    monkeypatch.setattr("sys.argv", ["train_toy.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "train_toy.py"), run_name="__main__")
    printed = capsys.readouterr().out
    losses = [float(told) for told in re.findall(r"loss (\d\.\d+)", printed)]
    # The two upright shapes share a bucket: 27 images make 7 batches of up to 4, 13 make 4.
    assert len(losses) == 2 * 11
    shapes_seen = set(re.findall(r"batch [1-4]x3x(\d+x\d+)", printed))
    assert shapes_seen == {"144x112", "112x144"}
    assert losses[0] > 0.9
    assert sum(losses[-4:]) / 4 < 0.5 * losses[0]

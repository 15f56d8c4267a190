"""That the examples of the documentation do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import hffs.train
from hffs.core.types import Size
from hffs.train.plan import Plan
from tests.train.planning import plan_by_hand, write_images

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def plan_toy(folder: str, **_: object) -> Plan:
    return plan_by_hand(Path(folder), [Size(48, 64), Size(64, 48)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
def test_a_toy_learns_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = [Size(75, 100), Size(100, 75), Size(90, 110)]
    write_images(tmp_path, {f"{n}.jpg": shapes[n % 3] for n in range(40)})
    monkeypatch.setattr(hffs.train, "plan_folder", plan_toy, raising=False)
    monkeypatch.setattr("sys.argv", ["train_toy.py", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "train_toy.py"), run_name="__main__")
    printed = capsys.readouterr().out
    losses = [float(told) for told in re.findall(r"loss (\d\.\d+)", printed)]
    assert len(losses) == 2 * 11
    assert {shape for shape in re.findall(r"batch 4x3x(\d+x\d+)", printed)} == {
        "64x48",
        "48x64",
    }
    assert losses[0] > 0.9
    assert sum(losses[-4:]) / 4 < 0.5 * losses[0]

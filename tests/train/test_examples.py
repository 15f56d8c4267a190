"""That the examples of the documentation do what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from hffs.core.types import Size
from hffs.train import plan_folder
from hffs.train.caching.finding import identify
from tests.train.caching.stored import embed, fill_images, fill_texts
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


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
def test_a_toy_learns_from_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = {f"{n}.jpg": (Size(75, 100), Size(100, 75))[n % 2] for n in range(8)}
    folder = write_images(tmp_path / "images", shapes)
    plan = plan_folder(folder, resolution=128, aspect_bucket_alignment=16)
    fill_images(tmp_path / "vae", plan, identities=identify(plan))
    fill_texts(tmp_path / "text", embed([f"caption of {name}" for name in shapes]))
    stores = [str(tmp_path / kind) for kind in ("vae", "text")]
    monkeypatch.setattr("sys.argv", ["train_cached.py", str(folder), *stores])
    runpy.run_path(str(EXAMPLES / "train_cached.py"), run_name="__main__")
    printed = capsys.readouterr().out
    told = re.findall(r"latents (\S+) text (\S+) sizes (\S+) loss \d", printed)
    assert sorted(told) == [("4x4x14x18", "4x5x6", "4x6"), ("4x4x18x14", "4x5x6", "4x6")]

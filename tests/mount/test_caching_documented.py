"""The examples of docs/caching.md: its commands, its encoder, and its Python."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hffs.cli.demo import find_photos
from tests.command import Hffs
from tests.documents import read_examples, run_example
from tests.tiny_models import save_pipeline

DOCUMENT = Path(__file__).parents[2] / "docs/caching.md"


def read_python() -> list[str]:
    text = DOCUMENT.read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose name is short: a longer one would be cut where a line ends."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.timeout(240)
def test_every_command_and_the_python_hold(
    hffs: Hffs, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hffs = replace(hffs, environ=hffs.environ | {"XDG_CACHE_HOME": str(place)})
    photos = place / "photos"
    photos.mkdir()
    for number, photo in enumerate(find_photos()[:12]):
        (photos / f"{number:02}{photo.suffix}").write_bytes(photo.read_bytes())
    save_pipeline(place / "sdxl")
    own, loading = read_python()
    (place / "own_encoder.py").write_text(own)
    monkeypatch.chdir(place)
    cache = Path(hffs.environ["XDG_CACHE_HOME"]) / "hffs"
    places = {
        "/data/photos": photos,
        "/models/sdxl": place / "sdxl",
        "~/.cache/hffs": cache,
    }
    examples = read_examples(DOCUMENT)
    assert len(examples) >= 3
    for example in examples:
        shown = run_example(example, hffs, places)
        assert example.is_met_by(shown), f"$ {example.command}\n{shown}"

    script = loading.replace("/data/photos", str(photos))
    script = script.replace("/home/ann/.cache/hffs", str(cache))
    script = script.replace("num_workers=2", "num_workers=0")
    script += "for batch in loader:\n    print(*batch['latents'].shape)\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=hffs.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shapes = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(shapes) >= 3
    assert all(shape[:2] == (2, 4) for shape in shapes)

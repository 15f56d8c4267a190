"""Processes that render for a mount: there where they are needed, and never longer than it."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hffs.view import codecs
from tests.command import Hffs, Mount
from tests.view.conftest import encode, write_set
from tests.view.workers.conftest import find_children, is_running
from tests.waiting import wait_until

SECRET = "hf_planted0token"  # noqa: S105 - nobody's


def test_images_are_rendered_by_processes_that_end_with_the_daemon(
    hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    hffs.environ["HF_TOKEN"] = SECRET
    images = [encode("PNG", seed, (64, 48)) for seed in range(8)]
    source = write_set(tmp_path / "a.parquet", [*images, images[0][:500]])
    folder = mount(source, "--images-only", "--procs", "0")
    daemon = hffs.pid(folder)
    assert find_children(daemon) == []  # they begin with the first image that needs them
    with ThreadPoolExecutor(4) as readers:
        files = readers.map(lambda at: (folder / f"{at}.jpg").read_bytes(), range(8))
        assert list(files) == [codecs.render(image, "jpg")[0] for image in images]
    with pytest.raises(OSError, match="Input/output error"):
        (folder / "8.jpg").read_bytes()
    (nest,) = find_children(daemon)
    everyone = [nest, *find_children(nest)]
    for pid in everyone:
        assert SECRET not in Path(f"/proc/{pid}/environ").read_text()
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, everyone)))


def test_what_passes_through_takes_no_process(hffs: Hffs, mount: Mount, tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG", 1)])
    folder = mount(source, "--images-only", "--procs", "0")
    assert (folder / "0.jpg").read_bytes() == encode("JPEG", 1)
    assert find_children(hffs.pid(folder)) == []

"""The files of a view that is read from a Hub, without a mount and as by one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hffs.cli.sources import choose_configs
from hffs.view.files import OpenViewFiles
from tests.command import Hffs, Mount
from tests.far_photos import ROWS
from tests.hub_store import Repo
from tests.view.portable import environ

pytestmark = pytest.mark.fuse

_READ = """
import pickle, sys
from pathlib import Path
with pickle.loads(Path(sys.argv[1]).read_bytes())() as files:
    for name in sys.argv[3:]:
        (Path(sys.argv[2]) / name).write_bytes(files.read(name))
"""


def test_of_a_hub_they_are_streamed_as_by_a_mount(
    far_photos: Repo, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    folder = mount("owner/photos", "--streaming")
    hffs("view", "owner/photos", "--streaming", "-o", tmp_path / "v.parquet")
    flags: dict[str, object] = {"streaming": True}
    (config,) = choose_configs("owner/photos", flags, None, environ(tmp_path / "there")).configs
    opens = OpenViewFiles.of(config, (tmp_path / "v.parquet").read_bytes())
    (tmp_path / "opens").write_bytes(pickle.dumps(opens))
    (tmp_path / "read").mkdir()
    names = [f"{number}.{kind}" for number in range(0, ROWS, 7) for kind in ("jpg", "txt")]
    command = [sys.executable, "-c", _READ, str(tmp_path / "opens"), str(tmp_path / "read"), *names]
    subprocess.run(command, env=hffs.environ, check=True)
    assert sorted(os.listdir(tmp_path / "read")) == sorted(names)
    for name in names:
        assert (tmp_path / "read" / name).read_bytes() == (folder / name).read_bytes()

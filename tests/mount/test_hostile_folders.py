"""What others put where hffs keeps its own is not followed, not believed and not waited for."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.cli.mounting import _prepare_state
from hffs.data.folders import make_private_folder, prepare_private_folder, read_own
from hffs.errors import ConfigError, MountError
from hffs.mount import layers
from hffs.mount.layers import Layer, Mark, open_layer
from hffs.mount.mountinfo import FS_TYPE, Mounted
from hffs.mount.overlay import LOWER, UPPER
from hffs.mount.registry import Record, Registry, _path, read_start_time

STRANGER = 65533

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root to give a file away")


def by_stranger(path: Path) -> None:
    path.mkdir()
    os.chown(path, STRANGER, STRANGER)


def by_link(path: Path) -> None:
    target = path.with_name("target")
    target.mkdir(0o755)
    path.symlink_to(target)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def by_file(path: Path) -> None:
    path.write_text("x")


PLANTED: dict[str, Callable[[Path], None]] = {
    "a link": by_link,
    "a dangling link": dangling,
    "a file": by_file,
    "a pipe": os.mkfifo,
}
if os.geteuid() == 0:
    PLANTED["a folder of another"] = by_stranger


@pytest.fixture(params=PLANTED, ids=lambda name: name.replace(" ", "-"))
def plant(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    planted: Callable[[Path], None] = PLANTED[request.param]
    return planted


def test_a_cache_that_was_planted_is_refused(plant: Callable[[Path], None], tmp_path: Path) -> None:
    plant(tmp_path / "store")
    with pytest.raises(ConfigError, match="cannot use the cache folder"):
        prepare_private_folder(tmp_path / "store")
    assert [path.name for path in tmp_path.rglob("target/*")] == []


@pytest.mark.parametrize("part", ["", "logs", "mounts", "groups"])
def test_a_state_folder_that_was_planted_is_refused(
    part: str, plant: Callable[[Path], None], tmp_path: Path
) -> None:
    if part:
        (tmp_path / "hffs").mkdir(0o700)
    plant(tmp_path / "hffs" / part)
    with pytest.raises(MountError, match=r"cannot write to .*; set XDG_STATE_HOME to a folder"):
        _prepare_state({"XDG_STATE_HOME": str(tmp_path)})
    assert [path.name for path in tmp_path.rglob("target/*")] == []


def test_a_folder_of_ones_own_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(0o777)
    make_private_folder(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700


def test_only_a_small_file_of_ones_own_is_read(
    plant: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"{}")
    assert read_own(path) == b"{}"
    (tmp_path / "other").write_bytes(b"{}")
    path.unlink()
    plant(path)
    if path.is_file() and not path.is_symlink():
        os.truncate(path, 1 << 30)
    with pytest.raises(OSError, match=r"."):
        read_own(path)


MARK = Mark("/mnt/photos", "photos.parquet", "abc", "def")


def open_there(scratch: Path) -> None:
    with open_layer(scratch, MARK, (STRANGER, STRANGER), 0o777) as layer:
        assert isinstance(layer, Layer)


def test_regression_a_layer_that_was_planted_is_refused(
    plant: Callable[[Path], None], tmp_path: Path
) -> None:
    """Its name can be guessed, and the folder of layers may be a shared one."""
    plant(tmp_path / "def")
    with pytest.raises(MountError, match="cannot keep a writable layer in"):
        open_there(tmp_path)
    assert [path.name for path in tmp_path.rglob("target/*")] == []


@needs_root
def test_regression_nothing_behind_a_link_is_given_away(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(0o700)
    (tmp_path / "def").mkdir(0o777)
    (tmp_path / "def" / UPPER).symlink_to(precious)
    with pytest.raises(MountError, match="cannot keep a writable layer in"):
        open_there(tmp_path)
    assert (precious.stat().st_uid, precious.stat().st_mode & 0o777) == (0, 0o700)


def test_a_layer_of_ones_own_is_closed_to_writers(tmp_path: Path) -> None:
    (tmp_path / "def").mkdir()
    (tmp_path / "def").chmod(0o777)
    with open_layer(tmp_path, MARK, (os.geteuid(), os.getegid()), 0o700):
        assert (tmp_path / "def").stat().st_mode & 0o777 == 0o755


def shown_of(folder: Path) -> str:
    """Where a mount below a layer's folder is said to be shown."""
    mounted = Mounted(str(folder / LOWER), "0:99", FS_TYPE, "hffs#x", frozenset())
    return layers._show(mounted).mountpoint


def test_regression_the_mark_of_a_layer_is_never_waited_for(
    plant: Callable[[Path], None], tmp_path: Path
) -> None:
    """Any user may mount at a folder of that name, and put a pipe where `hffs ls` of root looks."""
    plant(tmp_path / "layer.json")
    assert shown_of(tmp_path) == str(tmp_path / LOWER)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(list(Mark.__dataclass_fields__)), any_json) | any_json)
def test_any_mark_is_a_mark_or_none(said: object) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "layer.json").write_text(json.dumps(said))
        assert isinstance(shown_of(Path(place)), str)


def own_record() -> Record:
    started = read_start_time(os.getpid())
    assert started is not None
    return Record("/mnt/a", os.getpid(), started, "s", "c", "f", 3, None)


GROUP = {"folder": "/mnt", "members": ["a"], "made": ["a"], "pid": 1, "started": 1}


@settings(max_examples=200)
@given(st.data())
def test_any_record_is_sound_or_none(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        registry = Registry(Path(place))
        record = own_record()
        registry.add(record)
        (path,) = Path(place, "mounts").iterdir()
        fields = json.loads(path.read_text())
        for name in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=2)):
            fields[name] = data.draw(any_json)
        path.write_text(json.dumps(data.draw(st.just(fields) | any_json)))
        for found in registry.all():
            assert all(isinstance(text, str) for text in (found.mountpoint, found.source))
            assert all(type(number) is int for number in (found.pid, found.positions))


@pytest.mark.parametrize("name", ["../etc", "a/b", "..", "/etc", ""])
def test_a_group_names_nothing_outside_of_its_folder(name: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    (tmp_path / "groups").mkdir()
    for fields in ({"members": [name]}, {"made": [name]}):
        said = GROUP | {"starting": False} | fields
        _path(tmp_path / "groups", "/mnt").write_text(json.dumps(said))
        assert registry.find_group("/mnt") is None


def test_a_record_that_was_planted_is_none(plant: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "mounts").mkdir()
    plant(tmp_path / "mounts/0.json")
    assert Registry(tmp_path).all() == []


def test_regression_records_that_may_not_be_read_are_none(
    tmp_path: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    registry = Registry(tmp_path / "state")
    registry.add(own_record())
    (tmp_path / "state").chmod(0o700)
    with as_nobody():
        assert (registry.all() == []) == (os.geteuid() != tmp_path.stat().st_uid)


@needs_root
def test_a_record_of_another_user_signals_nobody(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(own_record())
    (path,) = (tmp_path / "mounts").iterdir()
    assert registry.find("/mnt/a") is not None
    os.chown(path, STRANGER, STRANGER)
    assert registry.find("/mnt/a") is None

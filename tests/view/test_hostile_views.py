"""A view file may hold anything: the outcome is one error, or a view of images of its source."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.cli.sources import choose_configs
from hffs.core.formats import sniff
from hffs.core.inodes import ROOT
from hffs.data.viewfile.header import read_header
from hffs.errors import DataError, FormatError, HffsError
from hffs.view.portable import installing
from hffs.view.tree import Tree
from tests.view.conftest import encode, write_set
from tests.view.portable import Parts, environ, facts_of, opened, record
from tests.view.test_model import listing, many, read

SECRET = b"the secret of another file"


class Recorded:
    """A view file, what it shows, and how to make others that are like it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        images: list[object] = [encode("JPEG" if n % 2 else "PNG", n) for n in range(6)]
        (folder / "set").mkdir()
        for number in range(3):
            (folder / f"set/{number}.jpg").write_bytes(encode("JPEG", 100 + number))
            images.append({"bytes": None, "path": f"{number}.jpg"})
        (folder / "secret.jpg").write_bytes(SECRET)
        kinds = [["cat", "dog"][n % 2] for n in range(9)]
        captions = [f"photo {n}" for n in range(9)]
        self.source = write_set(folder / "set/a.parquet", images, caption=captions, kind=kinds)
        keys = {"group_by": "kind", "names": "row", "metadata_jsonl": True}
        self.path = folder / "v.parquet"
        record(self.source, self.path, folder / "here", keys)
        with opened(self.path, folder / "there") as tree:
            self.expected = facts_of(tree)
        parts = self._parts = Parts.of(self.path)
        self.header, self.arrays = parts.header, parts.arrays

    def write(
        self, arrays: dict[str, NDArray[Any]], change: Callable[[dict[str, Any]], None]
    ) -> Path:
        """See `Parts.write`."""
        return self._parts.write(self.folder / "changed.parquet", arrays, change)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("hostile"))


def walk(view: Path, cache: Path) -> dict[str, Any] | None:
    """Everything that a view file shows; None where it is refused by one line."""
    shutil.rmtree(cache, ignore_errors=True)
    refusal = ""
    try:
        with opened(view, cache) as tree:
            return dict(facts_of_any(tree))
    except HffsError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1
    return None


def facts_of_any(tree: Tree) -> Iterator[tuple[str, Any]]:
    """As `facts_of`, where any file may be an error, and none may be anything but an image."""
    for name, inode in listing(tree).items():
        data = None
        with suppress(HffsError):
            tree.prepare(inode)
            ready = tree.ready(inode)
            data = bytes(tree.request(inode).result(20) if ready is None else ready)
            if name.rpartition(".")[2] not in ("txt", "caption", "jsonl"):
                assert sniff(data[:12]), "no image"
        assert SECRET not in (data or b"")
        folder, _, last = name.rpartition("/")
        inside = tree.lookup(ROOT, folder.encode()) if folder else ROOT
        assert inside is not None
        assert tree.lookup(inside, last.encode()) == inode
        size, rows = tree.size_bytes(inode), tree.xattrs(inode).get("user.hffs.row")
        yield name, (inode, data, size, rows, tree.mtime_ns)
    yield "", (tree.manifest.info.fingerprint,)


def test_what_is_recorded_is_shown(recorded: Recorded) -> None:
    assert walk(recorded.path, recorded.folder / "cache") == recorded.expected
    same = recorded.write(recorded.arrays, lambda values: None)
    assert walk(same, recorded.folder / "cache") == recorded.expected


@settings(many, max_examples=150)
@given(st.data())
def test_a_damaged_file_is_the_same_view_or_an_error(
    recorded: Recorded, data: st.DataObject
) -> None:
    content = bytearray(recorded.path.read_bytes())
    size = len(content)
    kind = data.draw(st.sampled_from(["flip", "flip", "footer", "cut", "swap"]))
    if kind == "cut":
        del content[data.draw(st.integers(0, size - 1)) :]
    elif kind == "swap":
        one, other = (data.draw(st.integers(0, size - 64)) for _ in range(2))
        content[one : one + 64] = content[other : other + 64]
    else:
        footer = int.from_bytes(content[-8:-4], "little")
        least = size - footer - 8 if kind == "footer" else 0
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(least, size - 1))] ^= data.draw(st.integers(1, 255))
    path = recorded.folder / "damaged.parquet"
    path.write_bytes(content)
    shown = walk(path, recorded.folder / "cache")
    event("refused" if shown is None else "shown")
    assert shown in (None, recorded.expected)


numbers = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63), 7, 255])


@st.composite
def changed_arrays(draw: st.DrawFn, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    changed = dict(arrays)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(arrays)))
        array = np.array(changed.get(name, arrays[name]))
        how = draw(st.sampled_from(["set", "set", "set", "all", "cut", "grow", "type", "gone"]))
        value = np.array(draw(numbers) if draw(st.booleans()) else draw(st.integers(-5, 300)))
        with np.errstate(all="ignore"):
            number = value.astype(array.dtype)
        if how == "set" and len(array):
            array[draw(st.integers(0, len(array) - 1))] = number
        elif how == "all":
            array[:] = number
        elif how == "cut":
            array = array[: draw(st.integers(0, len(array)))]
        elif how == "grow":
            array = np.concatenate([array, np.full(draw(st.integers(1, 3)), number)])
        elif how == "type":
            array = array.astype(draw(st.sampled_from(["|u1", "<i4", "<i8"])))
        if how == "gone":
            changed.pop(name, None)
        else:
            changed[name] = array
    return changed


@settings(many, max_examples=200)
@given(st.data())
def test_any_arrays_are_images_of_the_source_or_an_error(
    recorded: Recorded, data: st.DataObject
) -> None:
    arrays = data.draw(changed_arrays(recorded.arrays))
    with pytest.MonkeyPatch.context() as patch:
        told = recorded.header.info["fingerprint"]
        # Who forges arrays forges a fingerprint too.
        patch.setattr(installing, "fingerprint_files", lambda *_: told)
        path = recorded.write(arrays, lambda values: None)
        shown = walk(path, recorded.folder / "cache")
    event("refused" if shown is None else "shown")


any_json = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=3,
)


@settings(many, max_examples=150)
@given(st.data())
def test_any_header_is_the_same_view_or_an_error(recorded: Recorded, data: st.DataObject) -> None:
    def change(values: dict[str, Any]) -> None:
        places: list[tuple[Any, Any]] = []

        def collect(node: Any) -> None:
            pairs = node.items() if isinstance(node, dict) else enumerate(node)
            for key, inner in pairs:
                places.append((node, key))
                if isinstance(inner, dict | list):
                    collect(inner)

        collect(values)
        node, key = places[data.draw(st.integers(0, len(places) - 1))]
        if isinstance(node, dict) and data.draw(st.integers(0, 3)) == 0:
            del node[key]
        else:
            own = [
                other for parent, other_key in places if (other := parent[other_key]) is not node
            ]
            node[key] = data.draw(any_json | st.sampled_from(own))

    shown = walk(recorded.write(recorded.arrays, change), recorded.folder / "cache")
    event("refused" if shown is None else "shown")
    if shown is not None:
        shown.pop("")
        assert {name: facts[1] for name, facts in shown.items()} == {
            name: facts[1] for name, facts in recorded.expected.items() if name
        }


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "/etc/hostname", "b/../../secret.jpg", "./0.jpg", ""]
)
def test_a_file_outside_the_source_is_refused(recorded: Recorded, name: str) -> None:
    names = [name.encode(), b"1.jpg", b"2.jpg"]
    arrays = recorded.arrays | {
        "files.names": np.frombuffer(b"".join(names), np.uint8),
        "files.ends": np.cumsum([len(each) for each in names], dtype=np.int64),
    }
    assert walk(recorded.write(arrays, lambda values: None), recorded.folder / "cache") is None


def test_a_link_out_of_the_source_is_refused(recorded: Recorded) -> None:
    target = recorded.folder / "set/0.jpg"
    kept = target.read_bytes()
    (recorded.folder / "secret.jpg").write_bytes(kept)
    target.unlink()
    target.symlink_to("../secret.jpg")
    try:
        assert walk(recorded.path, recorded.folder / "cache") is None
    finally:
        target.unlink()
        target.write_bytes(kept)
        (recorded.folder / "secret.jpg").write_bytes(SECRET)


def test_what_a_file_says_changes_no_other_view(recorded: Recorded) -> None:
    """Neither another mount of the source, nor one of a sound file of the same view."""
    cache = recorded.folder / "shared"
    arrays = dict(recorded.arrays)
    offset = arrays["offset"].copy()
    length = arrays["length"].copy()
    jpegs = [cell for cell in range(6) if cell % 2]
    offset[jpegs], length[jpegs] = offset[jpegs[::-1]], length[jpegs[::-1]]
    forged = recorded.write(arrays | {"offset": offset, "length": length}, lambda values: None)
    with opened(forged, cache) as tree:
        assert facts_of(tree) != recorded.expected
    with opened(recorded.path, cache) as tree:
        assert facts_of(tree) == recorded.expected


def test_a_view_of_a_release_to_come_is_told(recorded: Recorded) -> None:
    def change(values: dict[str, Any]) -> None:
        values["version"] = 3

    path = recorded.write(recorded.arrays, change)
    with pytest.raises(FormatError) as caught:
        choose_configs(str(path), {}, None, environ(recorded.folder / "cache"))
    assert str(caught.value) == (
        f"cannot use view {path}: it is of version 3, and this hffs reads up to 2; update hffs"
    )


def test_sizes_that_are_not_so_are_an_error_of_their_image(recorded: Recorded) -> None:
    path = recorded.write(
        recorded.arrays | {"sizes": np.full(len(recorded.arrays["row"]), 5, np.int64)},
        lambda values: None,
    )
    with opened(path, recorded.folder / "sized") as tree:
        inode = listing(tree)["cat/0.jpg"]
        assert tree.size_bytes(inode) == 5
        with pytest.raises(DataError, match="and had 5 when that was recorded"):
            tree.request(inode).result(20)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("type", "local", "it sets 'type'"),
        ("cache_dir", "/etc", "it sets 'cache_dir'"),
        ("allow_private_urls", True, "it sets 'allow_private_urls'"),
        ("nonsense", 1, "it sets 'nonsense'"),
        ("dataset_name", "/a\nhffs: fine", "the name of its source has characters that cannot be"),
        ("dataset_name", "set/a.parquet", "it names no whole path, 'set/a.parquet'"),
        ("data_files", ["/etc/passwd"], "its data_files name '/etc/passwd', outside of its source"),
        ("data_files", ["a/../../b"], "its data_files name 'a/../../b', outside of its source"),
    ],
)
def test_what_a_file_must_not_say_is_refused(
    recorded: Recorded, key: str, value: object, why: str
) -> None:
    path = recorded.write(recorded.arrays, lambda values: values["config"].update({key: value}))
    with pytest.raises(HffsError, match=re.escape(why)), opened(path, recorded.folder / "cache"):
        pass


def test_a_few_bytes_do_not_take_much_memory(recorded: Recorded) -> None:
    names = np.full(1 << 27, ord("a"), np.uint8)
    names[:2], names[-2:] = (ord("["), ord('"')), (ord('"'), ord("]"))
    path = recorded.write(recorded.arrays | {"folder_names": names}, lambda values: None)
    assert path.stat().st_size < 1 << 20
    with (
        pytest.raises(FormatError, match="its folders are too many"),
        opened(path, recorded.folder / "cache"),
    ):
        pass
    path = recorded.write(
        recorded.arrays, lambda values: values.update(encoder="x" * (5 << 20))
    )  # fmt: skip
    with pytest.raises(FormatError, match=r"its header has \d+ bytes"):
        read_header(path)


def test_what_fills_the_disk_is_refused_before(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: (10**9, 0, 50_000_010))
    with (
        pytest.raises(FormatError, match=r"it takes 0\.0 MB, and 50\.0 MB are free"),
        opened(recorded.path, recorded.folder / "cache"),
    ):
        pass


def test_bytes_that_are_no_image_are_not_served(recorded: Recorded) -> None:
    """A range of the source may begin anywhere in it, and what is there need not be an image's."""
    offset, length = recorded.arrays["offset"].copy(), recorded.arrays["length"].copy()
    offset[1], length[1] = offset[1] + 1, length[1] - 1  # a JPEG without its first byte
    stored = recorded.arrays["stored"].copy()
    if len(stored):
        stored[1] -= 1
    changed = {"offset": offset, "length": length, "stored": stored}
    path = recorded.write(recorded.arrays | changed, lambda values: None)
    with opened(path, recorded.folder / "shifted") as tree:
        names = listing(tree)
        with pytest.raises(FormatError, match="its bytes are no image"):
            tree.read_into(memoryview(bytearray(9)), names["dog/1.jpg"], 0)
        with pytest.raises(FormatError, match="its bytes are no image"):
            read(tree, names["dog/1.jpg"])
        assert read(tree, names["dog/3.jpg"])

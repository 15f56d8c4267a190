"""Views that are recorded on one host and opened on another are the same view, or an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings

from hffs.cli.sources import choose_configs
from hffs.data import digesting
from hffs.data.digesting import Progress
from hffs.data.locating import recording
from hffs.data.viewfile import rows
from hffs.data.viewfile.header import read_header
from hffs.errors import ConfigError, DataError, StaleError
from hffs.view.opening import open_view
from tests.formats import FORMATS, PHOTOS, Case, write_files
from tests.view.conftest import Quiet, encode, write_set
from tests.view.portable import build, environ, facts_of, opened, record
from tests.view.test_model import configurations, data_sets, forms, many, write

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of datasets


@settings(many, max_examples=60)
@given(data_sets(), configurations(), forms)
def test_any_view_is_the_same_on_another_host(
    tmp_path_factory: pytest.TempPathFactory, data: Any, keys: dict[str, Any], form: str
) -> None:
    folder = tmp_path_factory.mktemp("portable")
    source = write(data, form, 3, folder)
    view, here, there = folder / "v.parquet", folder / "here", folder / "there"
    keys.pop("filter_func.where", None)  # SQL takes most of the time, and leaves no trace
    try:
        with open_view(build(source, here, keys), Quiet(), 1) as tree:
            expected = facts_of(tree)
    except (DataError, ConfigError):
        event("refused")
        return
    event("recorded")
    record(source, view, here, keys)
    moved = folder / "elsewhere" / source.name
    moved.parent.mkdir()
    shutil.copytree(source, moved) if source.is_dir() else shutil.copyfile(source, moved)
    # Bytes of no format are no image, which is all that a file may have served.
    expected |= {
        name: (*f[:1], None, *f[2:]) for name, f in expected.items() if name[-4:] == ".bin"
    }
    with opened(view, there, dataset_name=str(moved)) as tree:
        assert facts_of(tree) == expected
        assert tree.manifest.info.source == str(moved)
    with opened(view, there, dataset_name=str(moved)) as tree:
        assert facts_of(tree) == expected


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_every_format_of_a_host(make: Callable[[], Case], tmp_path: Path) -> None:
    case = make()
    names, values = case.flags[::2], case.flags[1::2]
    keys = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(names, values, strict=True)
    }
    here, there = (write_files(case.files, tmp_path / name) for name in ("set", "moved"))
    with open_view(build(here, tmp_path / "here", keys), Quiet(), 1) as tree:
        expected = facts_of(tree)
    record(here, tmp_path / "v.parquet", tmp_path / "here", keys)
    with opened(tmp_path / "v.parquet", tmp_path / "there", dataset_name=str(there)) as tree:
        assert facts_of(tree) == expected
    for path in there.rglob("*"):
        if path.is_file():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    with (
        pytest.raises(DataError),
        opened(tmp_path / "v.parquet", tmp_path / "there", dataset_name=str(there)),
    ):
        pass


def test_files_without_digests_are_told_by_their_times(tmp_path: Path) -> None:
    case = next(make for make in FORMATS if make.__name__ == "imagefolder_csv")()
    source = write_files(case.files, tmp_path / "set")
    record(source, tmp_path / "v.parquet", tmp_path / "here", reads=False)
    kept = shutil.copytree(source, tmp_path / "kept")
    with opened(tmp_path / "v.parquet", tmp_path / "there", dataset_name=str(kept)) as tree:
        assert tree.positions == len(PHOTOS)
    os.utime(kept / "train/1.jpg", (1, 1))
    with (
        pytest.raises(StaleError, match=r"1\.jpg has another time than it had"),
        opened(tmp_path / "v.parquet", tmp_path / "there", dataset_name=str(kept)),
    ):
        pass


def test_a_renamed_file_is_the_same(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG", n) for n in range(3)])
    record(source, tmp_path / "v.parquet", tmp_path / "here")
    source.rename(tmp_path / "b.arrow")
    with opened(
        tmp_path / "v.parquet", tmp_path / "there", dataset_name=str(tmp_path / "b.arrow")
    ) as tree:
        assert tree.positions == 3


def test_a_part_of_a_recorded_view_is_a_part_of_the_view(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG", n) for n in range(7)])
    record(source, tmp_path / "v.parquet", tmp_path / "here")
    with open_view(build(source, tmp_path / "here", {"shard": "1/3"}), Quiet(), 1) as tree:
        expected = facts_of(tree)
    with opened(tmp_path / "v.parquet", tmp_path / "there", shard="1/3") as tree:
        assert facts_of(tree) == expected


def test_what_a_host_adds_is_not_recorded(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG")])
    token = tmp_path / "token-of-mine"
    token.write_text("hf_secret")
    keys = {
        "token_file": str(token), "num_proc": 3, "allow_http_urls": True, "probability": 0.5,
        "allow_private_urls": True, "cache_size": 12345, "id": "mine", "offline": True,
    }  # fmt: skip
    view = tmp_path / "v.parquet"
    record(source, view, tmp_path / "here", keys)
    found = read_header(view)
    assert found is not None
    assert found[0].config == {"dataset_name": str(source)}
    content = view.read_bytes()
    assert not [word for word in (b"token", b"hf_", b"12345") if word in content]
    (config,) = choose_configs(str(view), {}, None, environ(tmp_path / "there")).configs
    assert [config.allow_http_urls, config.allow_private_urls, config.offline] == [False] * 3


@pytest.mark.parametrize("name", ["imagefolder_csv", "webdataset", "parquet_shards"])
def test_a_source_that_changes_while_it_is_recorded_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided is of the content before, and the digest of that behind it."""
    case = next(make for make in FORMATS if make.__name__ == name)()
    source = write_files(case.files, tmp_path / "set")
    digest = digesting.digest_files

    def digest_late(paths: Sequence[Path], workers: int, progress: Progress) -> Iterator[bytes]:
        for path in paths:
            if path.is_relative_to(source):
                content = bytearray(path.read_bytes())
                content[len(content) // 2] ^= 1
                path.write_bytes(content)
                os.utime(path, (1, 1))
        return digest(paths, workers, progress)

    monkeypatch.setattr(recording, "digest_files", digest_late)
    with pytest.raises(StaleError, match="it was changed since the view was decided"):
        record(source, tmp_path / "v.parquet", tmp_path / "here")


def test_a_table_that_was_made_has_no_time_of_its_host(tmp_path: Path) -> None:
    case = next(make for make in FORMATS if make.__name__ == "imagefolder_csv")()
    source = write_files(case.files, tmp_path / "set")
    for name in ("one", "other"):
        record(source, tmp_path / f"{name}.parquet", tmp_path / name)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_an_image_column_may_have_no_name(tmp_path: Path) -> None:
    photo = {"bytes": encode("JPEG"), "path": None}
    source = tmp_path / "a.parquet"
    pq.write_table(pa.table({"": [photo], "caption": ["a kite"]}), source)
    record(source, tmp_path / "v.parquet", tmp_path / "here")
    with opened(tmp_path / "v.parquet", tmp_path / "there") as tree:
        assert tree.positions == 1


def test_long_captions_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not come to lie on a page that is larger than what is read."""
    monkeypatch.setattr(rows, "_MOST_PAGE_BYTES", 4 << 20)
    captions = [f"{number} " + "a very long caption " * 500 for number in range(1500)]
    source = write_set(tmp_path / "a.parquet", [encode("JPEG")] * 1500, caption=captions)
    record(source, tmp_path / "v.parquet", tmp_path / "here")
    with opened(tmp_path / "v.parquet", tmp_path / "there") as tree:
        assert tree.positions == 1500


def test_files_outside_of_the_source_are_not_recorded(tmp_path: Path) -> None:
    case = next(make for make in FORMATS if make.__name__ == "jsonl_base64")()
    source = write_files(case.files, tmp_path / "set")
    write_files(case.files, tmp_path / "other")
    file = next(iter(case.files))
    with pytest.raises(DataError, match=r"its data_files name '\.\./set/.*', outside of it"):
        record(
            tmp_path / "other", tmp_path / "v.parquet", tmp_path / "here",
            {"data_files": f"../{source.name}/{file}"},
        )  # fmt: skip

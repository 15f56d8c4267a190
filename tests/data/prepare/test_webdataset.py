from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data.prepare import webdataset
from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare
from hffs.errors import DataError, FormatError, HffsError

Read = Callable[..., pa.Table]
Member = tuple[str, bytes]

JPEG, PNG = b"\xff\xd8\xff" + b"jpeg" * 300, b"\x89PNG\r\n\x1a\n" + b"png" * 300


def write_tar(path: Path, *members: Member) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def bytes_of(cell: dict[str, Any] | None, root: Path) -> bytes | None:
    """What a cell's path means."""
    if cell is None:
        return None
    assert cell["bytes"] is None
    place, _, name = str(cell["path"]).partition("::")
    offset, length = map(int, place.removeprefix("tar://").split(":")[:2])
    data = (root / name).read_bytes()
    assert offset + length <= len(data)
    return data[offset : offset + length]


def sample(key: str, number: int) -> list[Member]:
    meta = {"width": number, "tags": ["a", str(number)], "inner": {"score": number / 2}}
    return [
        (f"{key}.cls", b"%d\n" % number),
        (f"{key}.jpg", JPEG + b"%d" % number),
        (f"{key}.json", json.dumps(meta).encode()),
        (f"{key}.seg.png", PNG + b"%d" % number),
        (f"{key}.txt", f"caption ü {number}".encode()),
    ]


def test_rows_are_those_of_datasets(tmp_path: Path, prepared: Read, loaded: Read) -> None:
    long = "a.dir/" + "long" * 50
    tars = [
        write_tar(tmp_path / "data" / f"{n}.tar", *sample(f"x/{n}", n), *sample(f"{long}{n}", 9))
        for n in range(3)
    ]
    ours, theirs = prepared("webdataset", *tars).to_pylist(), loaded("webdataset", *tars)
    assert len(ours) == 6
    for mine, row in zip(ours, theirs.to_pylist(), strict=True):
        for name in ("jpg", "seg.png"):
            assert bytes_of(mine.pop(name), tmp_path) == row.pop(name)["bytes"]
        assert mine.pop("__url__") == str(Path(row.pop("__url__")).relative_to(tmp_path))
        assert mine == row


def test_columns_are_those_of_datasets(tmp_path: Path, prepared: Read, loaded: Read) -> None:
    tar = write_tar(tmp_path / "a.tar", *sample("a", 1), *sample("b", 2))
    ours, theirs = prepared("webdataset", tar), loaded("webdataset", tar)
    assert ours.schema.equals(theirs.schema)
    from datasets import Features, Image

    features = Features.from_arrow_schema(ours.schema)
    assert [name for name, kind in features.items() if kind == Image()] == ["jpg", "seg.png"]


def test_packed_json_is_that_of_datasets(tmp_path: Path, prepared: Read, loaded: Read) -> None:
    packed = gzip.compress(b'{"caption": "a cat"}')
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", JPEG), ("1.json.gz", packed))
    ours, theirs = prepared("webdataset", tar), loaded("webdataset", tar)
    assert ours["json.gz"].to_pylist() == theirs["json.gz"].to_pylist() == [{"caption": "a cat"}]


extensions = st.dictionaries(
    st.sampled_from(["jpg", "seg.png", "txt", "cls", "json"]), st.integers(0, 99), min_size=1
)


@given(st.lists(st.lists(extensions, min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=40)
def test_any_samples(tmp_path_factory: pytest.TempPathFactory, tars: list[Any]) -> None:
    root = tmp_path_factory.mktemp("set")
    files, expected = [], []
    for number, samples in enumerate(tars):
        members = []
        for key, fields in enumerate(samples):
            members += [(f"{key}.{name}", b"%d" % value) for name, value in fields.items()]
            expected.append({"__key__": str(key), "__url__": f"{number}.tar", **fields})
        files.append(write_tar(root / f"{number}.tar", *members))
    (root / "out").mkdir()
    job = Job("set", "webdataset", {}, "train", tuple(files), root, root / "out", print, print)
    rows = pq.read_table(prepare(job)[0]).to_pylist()
    pairs = [{"jpg", "seg.png"} <= fields.keys() for samples in tars for fields in samples]
    has_both = {"jpg", "seg.png"} <= {name for row in expected for name in row}
    for row, want in zip(rows, expected, strict=True):
        for name in ("jpg", "seg.png", "image"):
            if name in row:
                row[name] = bytes_of(row[name], root)
        for name in ("jpg", "seg.png", "txt"):
            if name in want:
                text = str(want[name])
                want[name] = text if name == "txt" else text.encode()
        if has_both and not any(pairs):
            want["image"] = want.pop("jpg", want.pop("seg.png", None))
        assert {name: value for name, value in row.items() if value is not None} == {
            name: value for name, value in want.items() if value is not None
        }


def test_images_of_several_extensions_are_one_column(tmp_path: Path, prepared: Read) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", JPEG), ("1.txt", b"one"), ("2.PNG", PNG))
    rows = prepared("webdataset", tar)
    assert rows.column_names == ["image", "txt", "__key__", "__url__"]
    assert [bytes_of(cell, tmp_path) for cell in rows["image"].to_pylist()] == [JPEG, PNG]


def test_a_sample_with_two_images_keeps_columns_apart(tmp_path: Path, prepared: Read) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", JPEG), ("2.jpg", JPEG), ("2.png", PNG))
    assert prepared("webdataset", tar).column_names[:2] == ["jpg", "png"]


def test_sound_and_films_are_paths_that_are_no_images(tmp_path: Path, prepared: Read) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", JPEG), ("1.mp3", b"sound"), ("1.mp4", b"film"))
    rows = prepared("webdataset", tar)
    features = json.loads(rows.schema.metadata[b"huggingface"])["info"]["features"]
    assert {name: feature["_type"] for name, feature in features.items()} == {
        "jpg": "Image", "mp3": "Audio", "mp4": "Video",
    }  # fmt: skip
    assert bytes_of(rows["mp3"].to_pylist()[0], tmp_path) == b"sound"


@pytest.mark.parametrize(
    "texts",
    [
        ['{"a": 1}', '{"a": "x"}'],
        ["{}", "{}"],
        ['{"a": {}}', "null"],
        ['"\\ud800"', "1"],
        [json.dumps({f"k{n}": 1 for n in range(900)}), "{}"],
        ["[" * 40 + "]" * 40, "1"],
    ],
)
def test_json_that_fits_no_type_stays_text(
    tmp_path: Path, prepared: Read, texts: list[str]
) -> None:
    members = [(f"{n}.json", text.encode()) for n, text in enumerate(texts)]
    tar = write_tar(tmp_path / "a.tar", *members)
    assert prepared("webdataset", tar)["json"].to_pylist() == texts


def test_json_of_optional_keys_is_a_struct(tmp_path: Path, prepared: Read) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.json", b'{"a": 1}'), ("2.json", b'{"b": "x"}'))
    rows = prepared("webdataset", tar)["json"].to_pylist()
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_values_that_cannot_be_read_are_null_and_told_of_once(
    tmp_path: Path, prepared: Read, notices: list[str]
) -> None:
    members = [("1.txt", b"\xff"), ("2.txt", b"ok"), ("3.txt", b"\xfe"), ("3.json", b"{")]
    tar = write_tar(tmp_path / "a.tar", *members)
    rows = prepared("webdataset", tar)
    assert rows["txt"].to_pylist() == [None, "ok", None]
    (told,) = notices
    assert told == (
        "values left out of org/set: 2 of txt (not UTF-8; the first is 1.txt in a.tar), "
        "1 of json (not JSON; the first is 3.json in a.tar)"
    )


def test_files_that_are_no_fields_are_left_out_and_told_of_once(
    tmp_path: Path, prepared: Read, notices: list[str]
) -> None:
    members = [
        ("1.jpg", JPEG),
        ("1.npy", b"n"),
        ("1.pickle", b"p"),
        ("2.jpg", JPEG),
        ("2.npy", b""),
    ]
    rows = prepared("webdataset", write_tar(tmp_path / "a.tar", *members))
    assert rows.column_names == ["jpg", "__key__", "__url__"]
    assert notices == ["files left out of org/set, by extension: npy (2), pickle (1)"]


def refusal(job: Job, kind: type[HffsError]) -> str:
    with pytest.raises(kind) as caught:
        prepare(job)
    return str(caught.value)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("1.jpg", b""), ("1.jpg", b"")], "sample 1 has two files of one kind"),
        ([("1.jpg", b""), ("2.jpg", b""), ("1.txt", b"")], "do not lie side by side"),
        ([(f"1.{n}.txt", b"") for n in range(300)], "more than 256 kinds of files"),
        ([("README", b"")], "hold no samples"),
        ([("1.npy", b"")], "found: npy"),
        ([], "hold no samples"),
    ],
)
def test_samples_that_make_no_table_are_refused(
    tmp_path: Path, make_job: Callable[..., Job], members: list[Member], why: str
) -> None:
    job = make_job("webdataset", write_tar(tmp_path / "a.tar", *members))
    assert why in refusal(job, DataError)


def test_a_tar_that_is_cut_off_is_named(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    whole = write_tar(tmp_path / "a.tar", ("1.jpg", JPEG))
    cut = write_tar(tmp_path / "b.tar", ("1.jpg", JPEG))
    cut.write_bytes(cut.read_bytes()[:900])
    assert str(cut) in refusal(make_job("webdataset", whole, cut), FormatError)


def test_a_compressed_tar_has_the_rows_of_a_plain_one(
    tmp_path: Path, make_job: Callable[..., Job], loaded: Read
) -> None:
    plain = write_tar(tmp_path / "a.tar", *sample("a", 1), ("b.json", b"[1"), ("b.jpg", JPEG))
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    told: list[tuple[str, int, int]] = []
    job = replace(make_job("webdataset", packed), progress=lambda *step: told.append(step))
    rows = pq.read_table(prepare(job)[0]).to_pylist()
    theirs = loaded("webdataset", write_tar(tmp_path / "a.tar", *sample("a", 1))).to_pylist()
    assert [path.name for path in job.folder.iterdir()] == ["rows.parquet"]
    assert rows[1]["jpg"] == {"bytes": JPEG, "path": None}
    assert rows[1]["json"] is None
    assert rows[0].pop("__url__") == "a.tar.gz"
    del theirs[0]["__url__"]
    for row in (rows[0], theirs[0]):
        row |= {name: row[name]["bytes"] for name in ("jpg", "seg.png")}
    assert rows[0] == theirs[0]
    size = packed.stat().st_size
    assert {step[:2] for step in told if step[0] == "indexing tars"} == {("indexing tars", size)}
    assert told[-1] == ("writing rows", 2, 2)


def test_compressed_and_plain_tars_are_one_table(tmp_path: Path, prepared: Read) -> None:
    tars = [write_tar(tmp_path / f"{n}.tar", *sample(f"{n}", n)) for n in range(3)]
    tars[1].write_bytes(gzip.compress(tars[1].read_bytes()))
    cells = prepared("webdataset", *tars)["jpg"].to_pylist()
    assert [cell["bytes"] for cell in cells] == [None, JPEG + b"1", None]
    assert bytes_of(cells[2], tmp_path) == JPEG + b"2"


def test_an_image_too_large_to_copy_is_left_out(
    tmp_path: Path, prepared: Read, notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "_MOST_COPIED_BYTES", len(JPEG))
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", JPEG), ("2.jpg", JPEG + b"1"))
    tar.write_bytes(gzip.compress(tar.read_bytes()))
    cells = prepared("webdataset", tar)["jpg"].to_pylist()
    assert cells == [{"bytes": JPEG, "path": None}, None]
    assert notices == [
        "values left out of org/set: 1 of jpg (larger than 0 MB; the first is 2.jpg in a.tar)"
    ]


def test_packed_bombs_cost_little_memory(tmp_path: Path, prepared: Read) -> None:
    bomb = gzip.compress(bytes(1 << 26))
    members = [("1.txt", b"ok"), *((f"{n}.json.gz", bomb) for n in range(2, 20))]
    pa_before = pa.total_allocated_bytes()
    rows = prepared("webdataset", write_tar(tmp_path / "a.tar", *members))
    assert rows["json.gz"].null_count == len(rows)
    assert pa.total_allocated_bytes() - pa_before < 1 << 24


def test_progress_reaches_all_bytes_and_all_rows(tmp_path: Path) -> None:
    tars = [write_tar(tmp_path / f"{n}.tar", ("1.jpg", JPEG)) for n in range(2)]
    (tmp_path / "out").mkdir()
    told: dict[str, tuple[int, int]] = {}
    job = Job(
        "set", "webdataset", {}, "train", tuple(tars), tmp_path, tmp_path / "out",
        lambda what, done, total: told.update({what: (done, total)}), print,
    )  # fmt: skip
    prepare(job)
    size = sum(tar.stat().st_size for tar in tars)
    assert told == {"indexing tars": (size, size), "writing rows": (2, 2)}

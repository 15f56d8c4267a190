from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare
from hffs.errors import DataError, HffsError

# datasets reads the first rows of a file and drops the reader: to close it is left to the collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

Read = Callable[..., pa.Table]
MakeJob = Callable[..., Job]
Oracle = Callable[..., tuple[pa.Table, pa.Table]]


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2)).save(path)
    return path


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pack(path: Path, *files: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(path.parent))
    return path


def relative(value: Any, root: Path) -> Any:
    """The same rows, with paths as `prepare` writes them."""
    if isinstance(value, dict):
        return {name: relative(inner, root) for name, inner in value.items()}
    if isinstance(value, list):
        return [relative(inner, root) for inner in value]
    return value.replace(f"{root}/", "") if isinstance(value, str) else value


def class_folders(root: Path) -> tuple[Path, ...]:
    return tuple(draw(root / label / f"{n}.png") for label in ("dog", "cat") for n in range(2))


def split_folders(root: Path) -> tuple[Path, ...]:
    return tuple(draw(root / "train" / f"{n}.png") for n in (2, 1))


def metadata_csv(root: Path) -> tuple[Path, ...]:
    text = "file_name,text,width\nb.png,bee,3\na.png,,4\n"
    return (draw(root / "a.png"), draw(root / "b.png"), put(root / "metadata.csv", text))


def metadata_jsonl(root: Path) -> tuple[Path, ...]:
    text = '{"file_name": "x/a.png", "meta": {"tags": ["t"]}}\n{"file_name": "x/b.png"}\n'
    return (draw(root / "x/a.png"), draw(root / "x/b.png"), put(root / "metadata.jsonl", text))


def metadata_lists(root: Path) -> tuple[Path, ...]:
    text = '{"file_names": ["a.png", "b.png"], "mask_file_name": "b.png"}\n'
    return (draw(root / "a.png"), draw(root / "b.png"), put(root / "metadata.jsonl", text))


def metadata_parquet(root: Path) -> tuple[Path, ...]:
    table = pa.table({"file_name": ["a.png"], "text": ["ay"]})
    pa.parquet.write_table(table, root / "metadata.parquet")
    return (draw(root / "a.png"), root / "metadata.parquet")


def zipped(root: Path) -> tuple[Path, ...]:
    return (pack(root / "x.zip", *class_folders(root)),)


def zipped_metadata(root: Path) -> tuple[Path, ...]:
    return (pack(root / "x.zip", *metadata_csv(root)),)


def brackets(root: Path) -> tuple[Path, ...]:
    return (draw(root / "set" / "a[1]*?.png"),)


@pytest.mark.parametrize(
    "layout",
    [
        class_folders,
        split_folders,
        metadata_csv,
        metadata_jsonl,
        metadata_lists,
        metadata_parquet,
        zipped_metadata,
    ],
)
def test_folders_of_images_are_rows_as_datasets_gives_them(
    tmp_path: Path, oracle: Oracle, layout: Callable[[Path], tuple[Path, ...]]
) -> None:
    ours, theirs = oracle("imagefolder", *layout(tmp_path))
    assert ours.schema.equals(theirs.schema)
    assert ours.schema.metadata == theirs.schema.metadata
    assert ours.to_pylist() == relative(theirs.to_pylist(), tmp_path)
    assert ours.num_rows


def test_names_of_files_are_no_patterns(tmp_path: Path, prepared: Read) -> None:
    rows = prepared("imagefolder", *brackets(tmp_path)).to_pylist()
    assert rows == [{"image": {"bytes": None, "path": "set/a[1]*?.png"}}]


CSV = "image,caption,width\na.png,one,1\nb.png,,2\n"
JSONL = '{"image": "a.png", "n": {"b": [1, 2]}}\n{"image": "b.png", "n": null}\n'


@pytest.mark.parametrize(
    ("kind", "files", "options"),
    [
        ("csv", {"a.csv": CSV.encode(), "b.csv": CSV.encode()}, {}),
        ("csv", {"a.tsv": CSV.replace(",", "\t").encode()}, {"sep": "\t"}),
        ("csv", {"a.csv.gz": gzip.compress(CSV.encode())}, {}),
        ("json", {"b.jsonl": JSONL.encode(), "a.jsonl": JSONL.encode()}, {}),
        ("json", {"a.json": b'[{"image": "a"}, {"image": "b"}]'}, {}),
        ("json", {"a.json": b'{"rows": [{"image": "a"}]}'}, {"field": "rows"}),
        ("json", {"a.jsonl": b'{"a": 1}\n{"a": {"b": 2}}\n'}, {}),
        ("text", {"a.txt": b"one\ntwo\n"}, {}),
    ],
)
def test_tables_are_as_datasets_gives_them(
    oracle: Oracle, tmp_path: Path, kind: str, files: dict[str, bytes], options: dict[str, Any]
) -> None:
    paths = [put(tmp_path / name, content) for name, content in files.items()]
    ours, theirs = oracle(kind, *paths, options=options)
    assert ours.schema.equals(theirs.schema)
    assert ours.schema.metadata == theirs.schema.metadata
    assert ours.to_pylist() == theirs.to_pylist()


def test_folders_in_an_archive_are_labels_too(tmp_path: Path, prepared: Read) -> None:
    rows = prepared("imagefolder", *zipped(tmp_path)).to_pylist()
    assert [(row["image"]["path"], row["label"]) for row in rows] == [
        ("zip://cat/0.png::x.zip", 0),
        ("zip://cat/1.png::x.zip", 0),
        ("zip://dog/0.png::x.zip", 1),
        ("zip://dog/1.png::x.zip", 1),
    ]


def test_a_table_may_have_no_rows(tmp_path: Path, prepared: Read) -> None:
    rows = prepared("csv", put(tmp_path / "a.csv", "image,caption\n"))
    assert (rows.num_rows, rows.column_names) == (0, ["image", "caption"])


def test_rows_of_several_metadata_files_are_in_the_order_of_the_files(
    tmp_path: Path, prepared: Read
) -> None:
    files = []
    for name in "hgfedcba":
        files += [draw(tmp_path / name / "1.png")]
        files += [put(tmp_path / name / "metadata.csv", f"file_name,text\n1.png,{name}\n")]
    assert prepared("imagefolder", *files)["text"].to_pylist() == list("hgfedcba")


def test_features_may_be_given(tmp_path: Path, prepared: Read) -> None:
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["bird", "cat", "dog"], "_type": "ClassLabel"},
    }
    rows = prepared("imagefolder", *class_folders(tmp_path), options={"features": features})
    assert rows["label"].to_pylist() == [2, 2, 1, 1]


def test_columns_that_parquet_cannot_hold_are_left_out_and_told_of(
    tmp_path: Path, prepared: Read, notices: list[str]
) -> None:
    file = put(tmp_path / "a.jsonl", '{"image": "x", "meta": {}}\n')
    rows = prepared("json", file, options={"on_mixed_types": None})
    assert rows.column_names == ["image"]
    assert notices == ["columns of empty objects left out of org/set: meta"]


FAILURES: list[tuple[str, dict[str, bytes], str]] = [
    (
        "imagefolder",
        {"metadata.csv": b"file_name\n../../a.png\n"},
        "cannot read metadata.csv of org/set: Invalid metadata file_name '../../a.png'",
    ),
    (
        "imagefolder",
        {"metadata.csv": b"file_name\n/etc/passwd\n"},
        "cannot read metadata.csv of org/set: Invalid metadata file_name '/etc/passwd'",
    ),
    ("imagefolder", {"metadata.csv": b"name\na.png\n"}, "must be present as dictionary key"),
    ("imagefolder", {"metadata.csv": b""}, "cannot read metadata.csv of org/set: No columns"),
    ("imagefolder", {"metadata.csv": b"file_name\n\xff\n"}, "metadata.csv of org/set: it is not U"),
    ("imagefolder", {"x.zip": b"PK junk"}, "cannot read x.zip of org/set: File is not a zip file"),
    ("csv", {"a.csv": b""}, "cannot read a.csv of org/set: No columns to parse from file"),
    ("csv", {"a.csv": b"a\n\xff\n"}, "cannot read a.csv of org/set: it is not UTF-8; convert it"),
    ("csv", {"a.csv": b'a,b\n1,"2'}, "cannot read a.csv of org/set: Error tokenizing data"),
    ("csv", {"a.csv": b"a\n1\n", "b.csv": b"b\n1\n"}, "its files have different columns; name"),
    ("json", {"a.json": b""}, "cannot read a.json of org/set: its files are empty"),
    ("json", {"a.json": b"nonsense"}, "cannot read a.json of org/set: JSON parse error"),
    ("json", {"a.json": b"[" * 100_000}, "cannot read a.json of org/set: "),
    ("json", {"a.json": b'{"a": 1}\n[3]\n'}, "cannot read a.json of org/set: JSON parse error"),
    (
        "json",
        {"a.json": b'{"a": 1}\n', "b.json": b'{"c": 1}\n'},
        "cannot use b.json of org/set: its columns are not those of the files before it: "
        "there are 1 new columns ({'c'})",
    ),
    ("json", {"a.json": b'{"a": 1}\n', "b.json": b'{"a": "x"}\n'}, "cannot read b.json of org/set"),
    ("pandas", {"a.pkl": b"cos\nsystem\n"}, "hffs does not read the format pandas; formats: "),
    ("../../json", {"a.json": b"{}"}, "hffs does not read the format"),
    ("json", {}, "its split train has no files"),
]


@pytest.mark.parametrize(("kind", "files", "line"), FAILURES, ids=range(len(FAILURES)))
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, make_job: MakeJob, kind: str, files: dict[str, bytes], line: str
) -> None:
    paths = [put(tmp_path / name, content) for name, content in files.items()]
    if kind == "imagefolder":
        paths = [draw(tmp_path / "a.png"), *paths]
    job = make_job(kind, *paths)
    with pytest.raises(DataError) as caught:
        prepare(job)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not [path for path in job.folder.iterdir() if path.name != "rows.parquet"]


@pytest.mark.parametrize("dtype", ["show_info", "json_", "cpu_count"])
def test_regression_a_dtype_calls_no_function(
    tmp_path: Path, make_job: MakeJob, capfd: pytest.CaptureFixture[str], dtype: str
) -> None:
    features = {"file_name": _value("string"), "text": _value(dtype)}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"file_name": ["a.png"], "text": ["ay"]}).replace_schema_metadata(told)
    pa.parquet.write_table(table, tmp_path / "metadata.parquet")
    job = make_job("imagefolder", draw(tmp_path / "a.png"), tmp_path / "metadata.parquet")
    with pytest.raises(DataError, match=f"No type alias for {dtype}"):
        prepare(job)
    assert capfd.readouterr().out == ""


def _value(dtype: str) -> dict[str, str]:
    return {"_type": "Value", "dtype": dtype}


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, make_job: MakeJob) -> None:
    for kind in ("csv", "webdataset"):
        job = make_job(kind, tmp_path / "missing")
        with pytest.raises(HffsError, match=r"cannot .*missing|cannot .*org/set"):
            prepare(job)
        job.folder.rmdir()


def test_progress_tells_of_rows(tmp_path: Path) -> None:
    file = put(tmp_path / "a.csv", "n\n" + "1\n" * 2500)
    (tmp_path / "out").mkdir()
    told: dict[str, int] = {}
    job = Job(
        "set", "csv", {}, "train", (file,), tmp_path, tmp_path / "out",
        lambda what, done, _: told.update({what: done}), print,
    )  # fmt: skip
    prepare(job)
    assert told == {"reading rows": 2500, "writing rows": 2500}


_CHILD = """
import sys
from pathlib import Path

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(refuse)
from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare

root = Path(sys.argv[1])
for kind, *names in (
    ("imagefolder", "cat/1.png", "dog/1.png"),
    ("csv", "a.csv"),
    ("json", "a.jsonl"),
):
    folder = root / f"out-{kind}"
    folder.mkdir()
    files = tuple(root / name for name in names)
    prepare(Job("org/set", kind, {}, "train", files, root, folder, lambda *_: None, print))
print("torch" in sys.modules, "webbrowser" in sys.modules)
"""


def test_no_network_is_asked_and_nothing_is_printed(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        draw(tmp_path / name)
    put(tmp_path / "a.csv", CSV)
    put(tmp_path / "a.jsonl", JSONL)
    home = tmp_path / "home"
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "False"
    assert not home.exists()


_FULL = """
import resource, signal, sys
from pathlib import Path
from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare
from hffs.errors import DataError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, unlimited[1]))
root = Path(sys.argv[1])
for kind, name in (("csv", "a.csv"), ("webdataset", "a.tar")):
    try:
        prepare(Job("org/set", kind, {}, "train", (root / name,), root, root / "out", print, print))
    except DataError as error:
        print(error, file=sys.stderr)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)  # coverage writes its data at exit
"""


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """The limit of a file's size is the one that a test can set."""
    put(tmp_path / "a.csv", "n\n" + "some words\n" * 100_000)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(300):
            tar.addfile(info := tarfile.TarInfo(f"{number}.txt"))
            info.size = 0
            noise = tarfile.TarInfo(f"{number}.json")
            noise.size = 2000
            tar.addfile(noise, io.BytesIO(b'"' + os.urandom(999).hex().encode() + b'"'))
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    folder = tmp_path / "out"
    assert (
        done.stderr.splitlines()
        == [f"cannot prepare org/set: {folder}: file too large; make room, or move cache_dir"] * 2
    )

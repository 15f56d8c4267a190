"""What goes wrong with data sets of a Hub, through the real command: one line and an exit code."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs
from tests.hub import Fail, HubServer, Truncate

pytestmark = pytest.mark.fuse


def _photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(file, "JPEG")
    return file.getvalue()


def _parquet(**columns: list[object]) -> bytes:
    given = {"image": [{"bytes": _photo(), "path": None}], "caption": ["a"], **columns}
    sink = io.BytesIO()
    pq.write_table(pa.table({name: column for name, column in given.items() if column}), sink)
    return sink.getvalue()


GOOD = {"data/train-00000-of-00001.parquet": _parquet()}
TWO_CONFIGS = b"""---
configs:
- config_name: small
  data_files: data/*.parquet
- config_name: large
  data_files: data/*.parquet
---
"""


@dataclass(frozen=True)
class Case:
    """A repository, what is asked of it, and what the command has to say."""

    code: int
    words: str
    files: dict[str, bytes] = field(default_factory=lambda: dict(GOOD))
    flags: tuple[str, ...] = ()
    name: str = "owner/photos"
    prepare: Callable[[HubServer, Hffs], None] = lambda hub, hffs: None


def _private(hub: HubServer, hffs: Hffs) -> None:
    hub.repos["owner/photos"].private = True


def _wrong_token(hub: HubServer, hffs: Hffs) -> None:
    hub.repos["owner/photos"].private = True
    hub.repos["owner/photos"].token = "hf_right"  # noqa: S105 - of this Hub
    hffs.environ["HF_TOKEN"] = "hf_wrong_but_secret"  # noqa: S105


def _gated(hub: HubServer, hffs: Hffs) -> None:
    hub.repos["owner/photos"].gated = "auto"


def _gated_with_token(hub: HubServer, hffs: Hffs) -> None:
    _gated(hub, hffs)
    hffs.environ["HF_TOKEN"] = "hf_of_somebody"  # noqa: S105


def _fail(status: int, **headers: str) -> Callable[[HubServer, Hffs], None]:
    def prepare(hub: HubServer, hffs: Hffs) -> None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        hub.faults.append(Fail(".", status, None, told))

    return prepare


def _no_such_host(hub: HubServer, hffs: Hffs) -> None:
    hffs.environ["HF_ENDPOINT"] = "http://no-such-host.invalid"


def _nobody_listens(hub: HubServer, hffs: Hffs) -> None:
    hffs.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"


def _plain_where_tls_is_asked(hub: HubServer, hffs: Hffs) -> None:
    hffs.environ["HF_ENDPOINT"] = hub.endpoint.replace("http:", "https:")


def _truncated_on_the_way(hub: HubServer, hffs: Hffs) -> None:
    hub.faults.append(Truncate("GET .*/resolve/.*parquet", 500))


def _zip_of(name: str, data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, data)
    return sink.getvalue()


MIXED = {"data/train-0.parquet": _parquet(), "data/train-1.parquet": _parquet(size=[1])}
BROKEN_JSON = {"train.jsonl": b'{"image": "a"}\n{"image": \n'}
ESCAPING = {"metadata.csv": b"file_name,text\n../../../../etc/passwd,a\n", "0.jpg": _photo()}

CASES = {
    "not there": Case(3, "cannot find data set owner/nothing", name="owner/nothing"),
    "private": Case(3, "private and not open to you", prepare=_private),
    "wrong token": Case(3, "owner/photos", prepare=_wrong_token),
    "gated": Case(3, "/datasets/owner/photos", prepare=_gated),
    "gated, not granted": Case(3, "/datasets/owner/photos", prepare=_gated_with_token),
    "no such revision": Case(3, "v9", flags=("--revision", "v9")),
    "no such commit": Case(3, "cannot", flags=("--revision", "0" * 40)),
    "one part": Case(3, "a data set on the Hub is owner/name", name="photos"),
    "three parts": Case(3, "a/b/c: no such file or folder", name="a/b/c"),
    "bad characters": Case(3, "owner/ph--otos", name="owner/ph--otos"),
    "misspelt file": Case(3, "no such file or folder", name="photos/train.parquet"),
    "no such split": Case(3, "there are: train", flags=("--split", "tset")),
    "bad split": Case(2, "is not a split", flags=("--split", "train[")),
    "bad slice": Case(2, '"train[a:b]" is not a split', flags=("--split", "train[a:b]")),
    "slice of nothing": Case(5, "train[100:] has no rows", flags=("--split", "train[100:]")),
    "bad rounding": Case(2, "less than 100", flags=("--split", "train[:50%](pct1_dropremainder)")),
    "config missing": Case(3, "small", GOOD | {"README.md": TWO_CONFIGS}),
    "config unknown": Case(
        3, "small", GOOD | {"README.md": TWO_CONFIGS}, flags=("--config-name", "smal")
    ),
    "no such data file": Case(3, "nothing/*.parquet", flags=("--data-files", "nothing/*.parquet")),
    "mismatched shards": Case(5, "column size is absent in data/train-0.parquet", MIXED),
    "broken JSON": Case(5, "owner/photos", BROKEN_JSON),
    "script": Case(5, "script", {"photos.py": b"raise SystemExit(99)\n"}),
    "pickle": Case(5, "owner/photos", {"data.pkl": b"cposix\nsystem\n(S'touch /tmp/x'\ntR."}),
    "unread format": Case(5, "hdf5", {"data.h5": b"\x89HDF\r\n\x1a\n"}),
    "empty": Case(5, "owner/photos", {".gitattributes": b"* text\n"}),
    "truncated Parquet": Case(
        5, "magic bytes", {"data/train-00000-of-00001.parquet": _parquet()[:-9]}
    ),
    "empty Parquet file": Case(5, "0 bytes", {"data/train-00000-of-00001.parquet": b""}),
    "no image column": Case(5, "no image column", {"train.csv": b"a,b\n1,2\n"}),
    "path that leads out": Case(5, "owner/photos", ESCAPING),
    "zip that is none": Case(5, "owner/photos", {"train.zip": b"PK but no zip"}),
    "tar that is none": Case(5, "train.tar", {"train.tar": b"no tar at all" * 100}),
    "card that reaches out": Case(
        5, "outside of it", GOOD | {"README.md": b"---\nconfigs:\n- data_files: /etc/*\n---\n"}
    ),
    "offline": Case(3, "without --offline", flags=("--offline",)),
    "unknown host": Case(3, "name is not known", prepare=_no_such_host),
    "nobody listens": Case(3, "connection is refused", prepare=_nobody_listens),
    "no TLS": Case(3, "TLS", prepare=_plain_where_tls_is_asked),
    "too many requests": Case(3, "429", prepare=_fail(429, Retry_After="5000")),
    "server error": Case(3, "503", prepare=_fail(503, Retry_After="5000")),
    "cut short on the way": Case(5, "train-00000", prepare=_truncated_on_the_way),
    "token on the command line": Case(2, "token", flags=("--token", "hf_secret_on_argv")),
    "no token file": Case(3, "token file /gone", flags=("--token-file", "/gone")),
}
SECRETS = ("hf_wrong_but_secret", "hf_of_somebody", "hf_secret_on_argv", "hf_right")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_goes_wrong_is_one_line(
    case: Case, hub: HubServer, hffs: Hffs, tmp_path: Path
) -> None:
    hub.add("owner/photos").write_all(case.files)
    hffs.environ.update(hub.env(tmp_path / "home"))
    case.prepare(hub, hffs)
    folder = tmp_path / "mnt"
    folder.mkdir()
    done = hffs.run("mount", case.name, folder, *case.flags)
    assert done.returncode == case.code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("hffs: ")
    assert case.words in lines[0]
    assert "Traceback" not in hffs.log()
    said = done.stderr + hffs.log() + json.dumps([str(path) for path in tmp_path.rglob("*")])
    assert not any(secret in said for secret in SECRETS)
    assert list(folder.iterdir()) == []
    assert hffs.describe(folder) is None

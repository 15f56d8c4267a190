"""Data sets of any bytes, through all of deciding and reading: a view, or an error of one line.

A few examples here; `make fuzz SECONDS=3600` draws as many as it can.
"""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import formats
from tests.command import Hffs
from tests.fuzz import opening

EXAMPLES = int(os.environ.get("HFFS_FUZZ_EXAMPLES", "3"))
DEADLINE_S = 200
SECRET = "what lies beside the data set"  # noqa: S105 - no secret, but none of its business
many = settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class Opener:
    """The program that opens data sets; another one after a crash."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory()
        self.folder = Path(self._place.name)
        (self.folder / "secret.jpg").write_text(SECRET)
        self._program: subprocess.Popen[str] | None = None

    def close(self) -> None:
        self._end()
        self._place.cleanup()

    def _end(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.communicate()
            self._program = None

    def open(self, files: Mapping[str, bytes], keys: Mapping[str, Any]) -> str:
        """What comes of a data set: "read", "refused" or "crashed" while it is decided."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            source = formats.write_files(files, Path(place, "set"))
            kept = {"cache_dir": f"{place}/cache"}
            asked = {"source": str(source), "keys": {**keys, **kept}, "secret": SECRET}
            return self._ask(asked)

    def _ask(self, asked: Mapping[str, Any]) -> str:
        if self._program is None:
            self._program = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", opening.__name__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, env=Hffs.below(self.folder).environ | {"HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(asked) + "\n")
        self._program.stdin.flush()
        is_decided = False
        while True:
            readable, _, _ = select.select([self._program.stdout], [], [], DEADLINE_S)
            if not readable:
                self._end()
                pytest.fail("it hangs")
            line = self._program.stdout.readline()
            if not line:
                status = self._program.wait()
                self._end()
                # Deciding is the work of a child, whose crash is one error (hffs.mount.daemon).
                assert not is_decided, f"a mount would have crashed ({status})"
                return "crashed"
            told = json.loads(line)
            assert "failed" not in told, told["failed"]
            if "decided" not in told:
                return "read" if "read" in told else "refused"
            is_decided = True


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    program = Opener()
    yield program
    program.close()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some of them flipped, cut, moved, repeated or replaced by telling numbers."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        # Where formats say what is where: at the beginning and at the end.
        size = len(data)
        near = st.one_of(
            st.integers(0, min(64, size)),
            st.integers(max(0, size - 600), size),
            st.integers(0, size),
        )
        at = draw(near)
        how = draw(st.sampled_from(["flip", "flip", "number", "cut", "drop", "repeat", "noise"]))
        if how == "flip" and at < size:
            data[at] ^= draw(st.integers(1, 255))
        elif how == "number":
            number = draw(st.sampled_from([0, 1, 0x7F, 0xFF, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
            raw = number.to_bytes(8, draw(st.sampled_from(["little", "big"])))
            data[at : at + 4] = raw[:4]
        elif how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at : at + draw(st.integers(1, 50))]
        elif how == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 5000))]
        else:
            data[at : at + 4] = draw(st.binary(max_size=8))
    return bytes(data)


CASES = {make.__name__: make() for make in formats.FORMATS}


@pytest.mark.parametrize("name", CASES)
@many
@given(data=st.data())
def test_a_damaged_data_set_is_a_view_or_an_error(
    name: str, opener: Opener, data: st.DataObject
) -> None:
    case = CASES[name]
    files = dict(case.files)
    # Of the files that say where others are, more often than of images.
    telling = [path for path in sorted(files) if not path.endswith((".jpg", ".png"))]
    victim = data.draw(st.sampled_from(telling or sorted(files)))
    files[victim] = data.draw(damaged(files[victim]))
    keys = {"data_files": [case.flags[1]]} if case.flags else {}
    event(opener.open(files, keys))


def draw_image(kind: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    image = Image.radial_gradient("L").resize((70, 50)).convert(mode)
    image.save(file, kind)
    return file.getvalue()


IMAGES = [
    draw_image("PNG"), draw_image("PNG", "P"), draw_image("WEBP"), draw_image("GIF", "P"),
    draw_image("BMP"), draw_image("TIFF"), draw_image("JPEG"), draw_image("JPEG", "CMYK"),
]  # fmt: skip


@many
@given(images=st.lists(st.sampled_from(IMAGES).flatmap(damaged), min_size=4, max_size=8))
def test_damaged_images_cost_one_error_each(images: list[bytes], opener: Opener) -> None:
    sink = io.BytesIO()
    cells = [{"bytes": image, "path": None} for image in [*images, IMAGES[6]]]
    pq.write_table(pa.table({"image": cells}), sink, compression="none", use_dictionary=False)
    assert opener.open({"a.parquet": sink.getvalue()}, {"images_only": True}) == "read"


hostile = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["..", ".", "/", "../../secret.jpg", "a/b", "", " ", ".hidden", "0.jpg"]),
    st.sampled_from(["\0", "\n", "\x1b[2J", "\u202egpj.exe", "metadata.jsonl", "x" * 300]),
    st.sampled_from(["\u00fc" * 200, "a" * 70_000]),
)


@many
@given(
    rows=st.lists(st.tuples(hostile, hostile), min_size=1, max_size=8),
    is_metadata=st.booleans(),
)
def test_any_caption_and_any_name_of_a_folder_stays_inside(
    rows: list[tuple[str, str]], is_metadata: bool, opener: Opener
) -> None:
    sink = io.BytesIO()
    table = pa.table(
        {
            "image": [{"bytes": IMAGES[6], "path": name} for name, _ in rows],
            "caption": [caption for _, caption in rows],
            "kind": [name for name, _ in rows],
        }
    )
    pq.write_table(table, sink)
    keys = {"group_by": "kind", "metadata_jsonl": is_metadata}
    event(opener.open({"a.parquet": sink.getvalue()}, keys))


@many
@given(
    names=st.lists(hostile, min_size=1, max_size=6), column=st.sampled_from(["image", "file_name"])
)
def test_no_name_that_a_data_set_says_is_read_outside_of_it(
    names: list[str], column: str, opener: Opener
) -> None:
    rows = [{column: name, "caption": "x"} for name in [*names, "../../secret.jpg", "0.jpg"]]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    is_folder = column == "file_name"
    files = {"0.jpg": IMAGES[6], "metadata.jsonl" if is_folder else "rows.jsonl": lines}
    event(opener.open(files, {} if is_folder else {"data_files": ["rows.jsonl"]}))

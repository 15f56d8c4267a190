"""Data sets of any bytes, through all of deciding and reading: a view, or an error of one line.

A few examples here; `make fuzz SECONDS=3600` draws as many as it can.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image

from hffs.view import codecs
from tests import formats
from tests.fuzz.damage import Opener, damaged, many


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    program = Opener({"HF_HUB_OFFLINE": "1"})
    yield program
    program.close()


def test_regression_lines_told_at_once_are_read_one_by_one() -> None:
    waiting = Opener({})
    command = [sys.executable, "-c", "print('a\\nb')"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        program.wait()
        assert [waiting._read_line(program) for _ in range(3)] == [b"a", b"b", b""]
    waiting.close()


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
    whole = IMAGES[0], IMAGES[6]  # one is rendered, one passes through
    cells = [{"bytes": image, "path": None} for image in [*images, *whole]]
    pq.write_table(pa.table({"image": cells}), sink, compression="none", use_dictionary=False)
    read = opener.read({"a.parquet": sink.getvalue()}, {"images_only": True})
    expected = codecs.render(whole[0], "jpg")[0], whole[1]
    assert read[-2:] == [zlib.crc32(file) for file in expected]


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

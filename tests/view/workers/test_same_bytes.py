import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hffs.core.composites import plan_composite
from hffs.errors import RenderError
from hffs.view import codecs
from hffs.view.codecs import Reshape, Target
from hffs.view.rendering import Rendering
from hffs.view.workers.pool import RenderPool
from tests.view.conftest import encode
from tests.view.workers.conftest import StartPool

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
GRID = Reshape(plan_composite(4, "2x2", "all"), upright=True)
IMAGES = [encode(kind, 3, (24, 20)) for kind in KINDS]


def _encode_turned(kind: str) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(("target", "reshape"), [("png", Reshape()), ("jpg", GRID)])
def test_processes_make_the_bytes_that_threads_make(
    target: Target, reshape: Reshape, start_pool: StartPool
) -> None:
    pool = start_pool(target, reshape)
    for kind in KINDS:
        data = _encode_turned(kind)
        assert list(pool.render(data)) == codecs.render(data, target, reshape), kind


@pytest.fixture(scope="module")
def pool() -> Iterator[RenderPool]:
    started = RenderPool(Rendering("jpg", Reshape()))
    yield started
    started.close()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::UserWarning:warnings")
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_images_fail_in_processes_as_they_do_on_threads(
    pool: RenderPool, data: st.DataObject
) -> None:
    image = bytearray(data.draw(st.sampled_from(IMAGES)))
    near = st.one_of(st.integers(0, 200), st.integers(0, len(image) - 1))
    for at, value in data.draw(st.lists(st.tuples(near, st.integers(0, 255)), max_size=4)):
        image[at % len(image)] = value
    length = data.draw(st.one_of(st.just(len(image)), st.integers(1, len(image))))
    damaged = bytes(image[:length])
    assert _describe(pool.render, damaged) == _describe(_render_here, damaged)


def _render_here(data: bytes) -> list[bytes]:
    return codecs.render(data, "jpg")


def _describe(render: Callable[[bytes], Sequence[bytes | bytearray]], data: bytes) -> object:
    """The files, or why there are none; any other error fails the test."""
    try:
        return list(map(bytes, render(data)))
    except RenderError as error:
        return "".join(char if char.isprintable() else " " for char in error.why)

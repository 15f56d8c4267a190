"""The pictures that trainers are shown, and how to tell whether they saw them as they are.

They are cut out of real photos, at sizes that each trainer takes without scaling or cropping: all
sides are multiples of 64 and no area exceeds that of RESOLUTION squared. So what a trainer hands
out can be compared with what is in the folder, pixel for pixel.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RESOLUTION = 256
SIZES = ((256, 256), (320, 192), (192, 320))
"""Width and height of the pictures, in turn."""

KINDS = ("animal", "thing")
_SERVED = frozenset({".jpg", ".txt", ".caption", ".jsonl"})
_PNG_EVERY = 4
_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Picture:
    """A row of the source."""

    data: bytes
    caption: str
    kind: str
    size: tuple[int, int]

    @property
    def is_jpeg(self) -> bool:
        return self.data.startswith(b"\xff\xd8")


def cut_pictures(photos: Sequence[tuple[str, bytes]], count: int, scale: int = 1) -> list[Picture]:
    """Pictures out of photos, all different; every fourth is a PNG, of a mode that JPEG lacks.

    A caption has what trips careless readers: commas, quotes, letters of other scripts. The sides
    are `scale` times those of SIZES.
    """
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for _, data in photos]
    sizes = [(scale * width, scale * height) for width, height in SIZES]
    return [
        _cut(opened[number % len(opened)], number, sizes[number % len(sizes)])
        for number in range(count)
    ]


def _cut(photo: Image.Image, number: int, size: tuple[int, int]) -> Picture:
    left, top = 2 * (number % 31), 3 * (number % 23)
    # Room for the window, so that no cut is beyond the photo.
    growth = max(1.0, (size[0] + 62) / photo.width, (size[1] + 69) / photo.height)
    grown = photo.resize((round(photo.width * growth) + 1, round(photo.height * growth) + 1))
    cut = grown.crop((left, top, left + size[0], top + size[1]))
    file = io.BytesIO()
    if number % _PNG_EVERY == 3:
        cut.convert("RGBA").save(file, "PNG")
    else:
        cut.save(file, "JPEG", quality=_QUALITY)
    caption = f'picture {number}, of a "thing", größe {size[0]} × {size[1]}, 写真'  # noqa: RUF001
    return Picture(file.getvalue(), caption, KINDS[number % len(KINDS)], size)


def write_pictures(path: Path, pictures: Sequence[Picture]) -> Path:
    """A Parquet file of the pictures with the columns image, caption, kind, width and height."""
    columns = {
        "image": [{"bytes": picture.data, "path": None} for picture in pictures],
        "caption": [picture.caption for picture in pictures],
        "kind": [picture.kind for picture in pictures],
        "width": [picture.size[0] for picture in pictures],
        "height": [picture.size[1] for picture in pictures],
    }
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    return path


def digest_pixels(pixels: npt.NDArray[np.uint8]) -> str:
    """A name for pixels of shape (h, w, 3), the same for the same pixels alone."""
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    shape = "x".join(map(str, pixels.shape))
    return f"{shape} {hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"


def digest_image(file: Path) -> str:
    """The name of an image file's pixels."""
    with Image.open(file) as image:
        return digest_pixels(np.asarray(image.convert("RGB")))


def digest_folder(folder: Path) -> dict[str, str]:
    """The names of all pixels in a folder, by the path below it."""
    files = sorted(folder.rglob("*.jpg"))
    return {file.relative_to(folder).as_posix(): digest_image(file) for file in files}


def check_folder(folder: Path, pictures: Sequence[Picture]) -> None:
    """Check that the images of a flat folder, in the order of their numbers, are the pictures."""
    files = sorted(folder.glob("*.jpg"), key=lambda file: int(file.stem))
    assert len(files) == len(pictures)
    for file, picture in zip(files, pictures, strict=True):
        if picture.is_jpeg:
            assert file.read_bytes() == picture.data
        with Image.open(file) as seen, Image.open(io.BytesIO(picture.data)) as meant:
            assert seen.format == "JPEG"
            shown, original = (np.asarray(image.convert("RGB"), float) for image in (seen, meant))
        assert np.abs(shown - original).mean() < 3


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Check that each file of the data set below a folder is there, and the same, at the end."""
    before = _contents(folder)
    assert before
    yield
    after = _contents(folder)
    assert {name: after.get(name) for name in before} == before


def _contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and mtime of each file of the data set, by its path: what else there is, is written
    by a trainer.
    """
    return {
        str(file): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.suffix in _SERVED
    }

"""`hffs.core.types`: what a size is after an image was turned upright."""

from __future__ import annotations

import pytest
from PIL import Image, ImageOps

from hffs.core.types import Size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_size_is_that_of_pillows_turned_image(orientation: int) -> None:
    image = Image.new("L", (5, 3))
    image.getexif()[0x0112] = orientation
    assert Size(*image.size).turned(orientation) == ImageOps.exif_transpose(image).size

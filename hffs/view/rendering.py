"""How a view's images become files, as its configuration says, and the codes of that.

Owns the *form* of an image: one small number for its format and whether its pixels are reshaped
(cut or turned), from which follow its extension and whether its bytes pass through. What is done
to pixels is `hffs.view.codecs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.core.composites import plan_composite
from hffs.core.formats import Media, MediaFormat, sniff
from hffs.errors import RenderError
from hffs.view import codecs
from hffs.view.codecs import Reshape, Target

_STRIDE = 64
"""Codes of forms of reshaped images begin here: above those of all formats, also of later ones,
since views are kept and recorded.
"""

FORM_VERSION = 2
"""What a kept view's forms mean."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The file format asked for, and what is done to the pixels of every image.

    Videos and sounds pass through: their target is `source`.
    """

    target: Target
    reshape: Reshape
    media: Media = "image"

    @property
    def identity(self) -> str:
        """Everything besides the source and the tile that rendered bytes depend on."""
        composite = self.reshape.composite
        # Which tiles are shown changes none of them: another choice finds those that are kept.
        any_tiles = composite and replace(composite, tiles=())
        reshape = replace(self.reshape, composite=any_tiles)
        return codecs.encoder_identity(self.target, reshape)

    @property
    def tiles(self) -> tuple[int, ...]:
        """The tiles that are shown of each image; the image itself is its only tile."""
        composite = self.reshape.composite
        return composite.tiles if composite else (0,)

    @property
    def slots(self) -> int:
        """How many tiles an image has, shown or not: rendered images are numbered by them."""
        composite = self.reshape.composite
        return composite.count if composite else 1

    def leaves(self, data: memoryview) -> bool:
        """Whether an image of a form that does not tell passes through: one at a URL."""
        if self.reshape.composite or not codecs.passes_through(sniff(data), self.target):
            return False
        try:
            return not self.reshape.upright or codecs.measure(data).orientation <= 1
        except RenderError:
            return True  # as one that is not at a URL does, whose header does not tell either

    def passing(self) -> list[bool]:
        """Whether the source's bytes pass through untouched, for each form."""
        return [codecs.passes_through(*form) for form in self._forms()]

    def count_rendered(self, forms: NDArray[np.uint8]) -> int:
        """How many images of some forms are not served as they are."""
        return int(np.count_nonzero(~np.array(self.passing())[forms]))

    def extensions(self) -> list[str]:
        """The extension of a file of each form, which its bytes agree with."""
        return [codecs.extension(*form) for form in self._forms()]

    def _forms(self) -> list[tuple[MediaFormat, Target, bool]]:
        formats = [*MediaFormat, *[MediaFormat.UNKNOWN] * (_STRIDE - len(MediaFormat))]
        return [(kind, self.target, reshaped) for reshaped in (False, True) for kind in formats]


def make_forms(
    formats: NDArray[np.uint8], reshaped: NDArray[np.bool_] | np.bool_
) -> NDArray[np.uint8]:
    """The form of images from their formats (`MediaFormat`) and which of them are reshaped."""
    return formats + np.uint8(_STRIDE) * np.asarray(reshaped, np.uint8)


def split_forms(forms: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The format of each form, and whether it is reshaped: 1, or 0; more is no form at all."""
    return forms % _STRIDE, forms // _STRIDE


def parse_rendering(config: Config) -> Rendering:
    """What a configuration asks for; ConfigError for composites that cannot be."""
    if config.dataset_type != "image":  # bytes are never made of these, whatever images become
        return Rendering("source", Reshape(), config.dataset_type)
    target = codecs.parse_target(config.image_format)
    grid = config.composite_image_config
    composite = None
    if grid.enabled:
        composite = plan_composite(grid.image_count, grid.layout, grid.select_index)
    if grid.image_count == 1:
        composite = None  # a grid of one tile is the image itself
    return Rendering(target, Reshape(composite, config.orientation == "upright"))

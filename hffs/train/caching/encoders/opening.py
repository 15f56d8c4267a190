"""Opening encoders: by what they are named.

Owns the choice between diffusers, transformers and classes of the user's own. Nothing here loads
weights; a model on the Hub is fetched when it is opened.
"""

from __future__ import annotations

from hffs.data.hub.models import HubAccess
from hffs.errors import UsageError
from hffs.train.caching.encoders import ImageEncoder, TextEncoder, TextSpec, VaeSpec
from hffs.train.caching.encoders.custom import Custom
from hffs.train.caching.encoders.locating import (
    is_custom,
    locate_text_encoders,
    locate_vae,
    pin,
)
from hffs.train.caching.encoders.text import TransformersText
from hffs.train.caching.encoders.vae import DiffusersVae

__all__ = ["open_image_encoder", "open_text_encoder", "pin"]


def open_image_encoder(spec: VaeSpec, access: HubAccess) -> ImageEncoder:
    """An encoder of images. Raises UsageError, SourceError, DataError."""
    if is_custom(spec.model):
        return Custom(spec.model)
    return DiffusersVae(spec, locate_vae(spec.model, access))


def open_text_encoder(spec: TextSpec, access: HubAccess) -> TextEncoder:
    """An encoder of texts, of all models that are named. Raises as `open_image_encoder`."""
    if not spec.models:
        raise UsageError("cannot encode texts", why="no text encoder is named")
    if any(map(is_custom, spec.models)):
        if len(spec.models) > 1:
            why = "a class of your own is given alone; it may hold others"
            raise UsageError("cannot use encoders", ", ".join(spec.models), why=why)
        return Custom(spec.models[0])
    located = [each for model in spec.models for each in locate_text_encoders(model, access)]
    return TransformersText(spec, located)

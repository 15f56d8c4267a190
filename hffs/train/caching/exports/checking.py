"""What several trainers ask of a plan and of encoders before a cache is written for them.

Owns the refusals. Must not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from hffs.core.buckets.spec import Generator
from hffs.errors import ConfigError
from hffs.train.caching.exports import Facts
from hffs.train.caching.scaling import scale_latents
from hffs.train.plan import Plan


class LatentSpace(NamedTuple):
    """How many channels latents have, and how many pixels each way one is of."""

    channels: int
    stride_px: int


class TextModel(NamedTuple):
    """A text encoder: its class of transformers, which layer is kept, and whether it attends to
    "all" tokens, or to those of the "text" alone.
    """

    kind: str
    layer: int
    attends: str = "all"


SDXL_TEXTS = TextModel("CLIPTextModel", -2), TextModel("CLIPTextModelWithProjection", -2)
FLUX_TEXTS = TextModel("CLIPTextModel", -1), TextModel("T5EncoderModel", -1)


def check_plan(plan: Plan, trainer: str, generator: Generator, *, turns: bool) -> None:
    """Raise ConfigError for buckets that are not the trainer's; `turns` says whether it turns
    images as EXIF asks.
    """
    what = f"cannot export to {trainer}"
    spec = plan.spec
    if spec.generator != generator:
        why = f"the plan's buckets are of the generator {spec.generator}, and it makes its own"
        raise ConfigError(what, why=why, fix=f"plan with aspect_bucket_generator {generator}")
    if spec.crop.aspect != "preserve" or spec.crop.style != "center":
        why = "it crops in the middle, to the shape that is nearest to the image's"
        raise ConfigError(what, why=why, fix="plan with crop_aspect preserve, crop_style center")
    turned = plan.scan.orientation[plan.assignment.image] != 1
    if plan.upright != turns and bool(np.any(turned)):
        is_turned = "turns" if turns else "does not turn"
        wanted = "upright" if turns else "as-is"
        why = f"it {is_turned} the {int(turned.sum())} images that EXIF would have turned"
        raise ConfigError(what, why=why, fix=f"plan with orientation {wanted}")


def check_vae(trainer: str, model: str, facts: Facts | None, latents: LatentSpace) -> None:
    """Raise ConfigError for latents of another model's VAE, as far as it says what they are."""
    told = {} if facts is None else find_own(facts)
    found = told.get("latent_channels"), told.get("spatial_factor")
    if any(has not in (None, wanted) for has, wanted in zip(found, latents, strict=True)):
        why = f"latents have {found[0]} channels, each of {found[1]} x {found[1]} pixels"
        fix = f"those of {model} have {latents.channels}, of {latents.stride_px}: encode by its VAE"
        raise ConfigError(f"cannot export to {trainer}", why=why, fix=fix)


def check_texts(trainer: str, model: str, facts: Facts, *wanted: TextModel) -> None:
    """Raise ConfigError for embeddings of other text encoders, or of another layer of theirs.

    What an encoder of the user's own says is not known, and taken for right.
    """
    if "encoders" not in facts:
        return
    found = [
        TextModel(each.get("class"), each.get("layer"), each.get("attends"))
        for each in facts["encoders"]
    ]
    if found != list(wanted):
        told, asked = (" and ".join(map(_describe, some)) for some in (found, wanted))
        fix = f"it takes {asked} for {model}: encode so, or export latents alone"
        raise ConfigError(f"cannot export to {trainer}", why=f"embeddings are of {told}", fix=fix)


def _describe(text: TextModel) -> str:
    return f"{text.kind}, layer {text.layer}, attending to {text.attends}"


def find_own(facts: Facts) -> Facts:
    """What an encoder says of itself, also where it is the user's own."""
    own = facts.get("facts") if "custom" in facts else None
    return own if isinstance(own, Mapping) else facts


def scale(latents: Tensor, facts: Facts) -> Tensor:
    """Latents as a model takes them: (z - shift) * scale, as trainers compute it.

    Raises ConfigError where the VAE has statistics of its channels instead, which each trainer
    applies in its own way, or says nothing of either.
    """
    own = find_own(facts)
    if own.get("latents_mean") is not None or own.get("scaling_factor") is None:
        why = "its VAE has no scaling factor, or means of channels beside it"
        raise ConfigError("cannot export latents", why=why, fix="let the trainer cache them")
    return scale_latents(latents, own)

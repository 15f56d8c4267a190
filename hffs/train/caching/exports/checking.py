"""What several trainers ask of a plan and of encoders before a cache is written for them.

Owns the refusals. Must not know files.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from hffs.core.buckets.spec import Generator
from hffs.errors import ConfigError
from hffs.train.caching.exports import Facts
from hffs.train.plan import Plan


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


def check_channels(
    trainer: str, model: str, facts: Facts | None, channels: int, stride_px: int
) -> None:
    """Raise ConfigError for latents of another model's VAE, as far as it says what they are."""
    if facts is None:
        return
    found = facts.get("latent_channels", channels), facts.get("spatial_factor", stride_px)
    if found != (channels, stride_px):
        why = f"latents have {found[0]} channels, of {found[1]} pixels each way"
        fix = f"those of {model} have {channels}, of {stride_px}: encode by its VAE"
        raise ConfigError(f"cannot export to {trainer}", why=why, fix=fix)


def check_layer(trainer: str, model: str, facts: Facts, layer: Literal[-1, -2]) -> None:
    """Raise ConfigError for embeddings of another layer, as far as the encoder says so."""
    found = facts.get("layer", layer)
    if found != layer:
        why = f"embeddings are of layer {found}"
        fix = f"it takes layer {layer} for {model}: encode with that, or export latents alone"
        raise ConfigError(f"cannot export to {trainer}", why=why, fix=fix)


def scale(latents: Tensor, facts: Facts) -> Tensor:
    """Latents as a model takes them: (z - shift) * scale. Raises ConfigError where the VAE has
    statistics of its channels instead, which trainers apply each in its own way.
    """
    if facts.get("latents_mean") is not None or facts.get("latents_std") is not None:
        why = "the latents of this VAE are normalised channel by channel"
        raise ConfigError("cannot export latents", why=why, fix="let the trainer cache them")
    shift, factor = facts.get("shift_factor") or 0.0, facts.get("scaling_factor")
    return (latents - shift) * (1.0 if factor is None else factor)

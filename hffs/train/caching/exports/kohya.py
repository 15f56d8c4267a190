"""The cache of kohya's sd-scripts: `.npz` beside the images.

Owns its names and arrays, as `library/strategy_*.py` have them (kohya-ss/sd-scripts, v0.9 and on):

    STEM_WWWWxHHHH_{sd,sdxl,flux,sd3}.npz   latents; the size is the image's own
    STEM_te_outputs.npz, STEM_flux_te.npz   embeddings of SDXL and FLUX.1

kohya looks for names, of files and arrays, alone. So it is made sure that the plan is as its own.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hffs.core.types import Size
from hffs.errors import ConfigError, DataError
from hffs.train.caching.exports import Facts, File, Latents
from hffs.train.caching.exports.checking import (
    FLUX_TEXTS,
    SDXL_TEXTS,
    LatentSpace,
    check_plan,
    check_texts,
    check_vae,
    scale,
)
from hffs.train.caching.exports.reading import read_as_kohya
from hffs.train.plan import Plan

Model = Literal["sd", "sdxl", "flux", "sd3"]
Arrays = dict[str, NDArray[Any]]

_STRIDE_PX = 8
_CHANNELS: Mapping[Model, int] = {"sd": 4, "sdxl": 4, "flux": 16, "sd3": 16}
_OF_SEVERAL_SIZES = frozenset({"flux", "sd3"})
"""Models in whose files the names of arrays tell the size of latents, so that one has several."""

_MOST_BYTES = 1 << 28
"""Of the arrays in a file that is added to."""


@dataclass(frozen=True, slots=True)
class Kohya:
    """The cache for training one kind of model; `flip` is for `flip_aug`."""

    model: Model
    flip: bool = False

    def check(self, plan: Plan, latents: Facts | None, texts: Facts | None) -> None:
        """See `Trainer`."""
        check_plan(plan, "kohya", "grid", turns=False)
        spec = plan.spec
        if spec.resolution_type != "pixel_area" or spec.distance not in (None, "linear"):
            fix = "resolution_type pixel_area, aspect_bucket_distance linear"
            raise ConfigError("cannot export to kohya", why="it measures otherwise", fix=fix)
        if len(spec.resolutions) > 1 and self.model not in _OF_SEVERAL_SIZES:
            why = f"its files of {self.model} are of one resolution"
            raise ConfigError("cannot export to kohya", why=why, fix="plan and export each alone")
        space = LatentSpace(_CHANNELS[self.model], _STRIDE_PX)
        check_vae("kohya", self.model, latents, space)
        if texts is not None:
            self._check_texts(texts)

    def _check_texts(self, texts: Facts) -> None:
        if self.model not in ("sdxl", "flux"):
            why = f"its embeddings of {self.model} are made of what was not kept"
            fix = "export latents alone"
            raise ConfigError("cannot export embeddings to kohya", why=why, fix=fix)
        wanted = SDXL_TEXTS if self.model == "sdxl" else FLUX_TEXTS
        check_texts("kohya", self.model, texts, *wanted)

    def tell(self, plan: Plan) -> dict[str, object]:
        """The keys of its dataset configuration, and of its command line."""
        spec = plan.spec
        edges = [int(edge) for edge in spec.resolutions]
        return {
            "resolution": edges[0] if len(edges) == 1 else edges,
            "enable_bucket": True,
            "bucket_no_upscale": False,
            "min_bucket_reso": spec.min_edge_px,
            "max_bucket_reso": spec.max_edge_px,
            "bucket_reso_steps": spec.alignment_px,
            "caption_extension": f".{plan.caption_extension}",
            "flip_aug": self.flip,
            "cache_latents_to_disk": True,
        }

    def read_caption(self, text: str) -> str:
        """See `Trainer`."""
        return read_as_kohya(text)

    def pack_latents(self, folder: Path, sample: Latents, facts: Facts) -> list[File]:
        """See `Trainer`. Raises DataError where a file of its old kind goes before."""
        original, size = sample.cut.stored, sample.cut.size
        stem = sample.name.rpartition(".")[0]
        path = folder / f"{stem}_{original.width:04d}x{original.height:04d}_{self.model}.npz"
        height, width = sample.plain.shape[-2:]
        suffix = f"_{height}x{width}" if self.model in _OF_SEVERAL_SIZES else ""
        arrays: Arrays = {
            f"latents{suffix}": self._convert(sample.plain, facts),
            f"original_size{suffix}": np.array(original),
            f"crop_ltrb{suffix}": np.array(_find_box(size, original)),
        }
        if sample.flipped is not None:
            arrays[f"latents_flipped{suffix}"] = self._convert(sample.flipped, facts)
        if not suffix:
            _refuse_old(folder / f"{stem}.npz")
        held = _read_arrays(path)
        if suffix:
            arrays |= {name: held[name] for name in held if not name.endswith(suffix)}
        # Where nothing that is there changes, more beside it is no other file.
        adds = all(
            name in arrays and np.array_equal(array, arrays[name]) for name, array in held.items()
        )
        return [File(path, sample.name, _pack(arrays), adds=bool(held) and adds)]

    def _convert(self, latents: Tensor, facts: Facts) -> NDArray[np.float32]:
        """Its VAE of FLUX.1 scales what it makes; the others are scaled when they are read."""
        scaled = scale(latents, facts) if self.model == "flux" else latents
        array: NDArray[np.float32] = scaled.float().numpy()
        return array

    def pack_text(
        self, folder: Path, name: str, caption: str, tensors: Mapping[str, Tensor]
    ) -> File:
        """See `Trainer`."""
        stem = name.rpartition(".")[0]
        try:
            if self.model == "sdxl":
                path = folder / f"{stem}_te_outputs.npz"
                named = {"hidden_state1": "0.hidden", "hidden_state2": "1.hidden"}
                arrays = {its: _to_array(tensors[ours]) for its, ours in named.items()}
                arrays |= {"pool2": _to_array(tensors["1.pooled"])}
                return File(path, name, _pack(arrays))
            return File(folder / f"{stem}_flux_te.npz", name, _pack(_pack_flux(tensors)))
        except KeyError as error:
            why, fix = f"there is no {error}", "encode by both text encoders of the model"
            raise DataError("cannot export embeddings of", name, why=why, fix=fix) from error


def _pack_flux(tensors: Mapping[str, Tensor]) -> Arrays:
    """CLIP pooled, T5 in whole: (768,) and (n, 4096)."""
    hidden = _to_array(tensors["1.hidden"])
    return {
        "l_pooled": _to_array(tensors["0.pooled"]),
        "t5_out": hidden,
        "txt_ids": np.zeros((len(hidden), 3), np.float32),
        "t5_attn_mask": tensors["1.mask"].to(torch.int64).numpy(),
        "apply_t5_attn_mask": np.array(False),
    }


def _to_array(tensor: Tensor) -> NDArray[Any]:
    """As it is; what numpy does not have as float32."""
    array: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _find_box(bucket: Size, original: Size) -> tuple[float, float, float, float]:
    """What of the bucket the image fills when all of it is fitted in: left, top, right, bottom.

    Not the crop: it is how kohya's `get_crop_ltrb` sees it, and what SDXL is conditioned on there.
    """
    aspect = original.width / original.height
    width: float = bucket.width
    height: float = bucket.height
    if bucket.width / bucket.height > aspect:
        width = bucket.height * aspect
    else:
        height = bucket.width / aspect
    left, top = (bucket.width - width) // 2, (bucket.height - height) // 2
    return left, top, left + width, top + height


def _pack(arrays: Arrays) -> bytes:
    """An npz; the same arrays are the same bytes."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return file.getvalue()


def _refuse_old(path: Path) -> None:
    if path.exists():
        why, fix = "kohya takes it before what would be written", "remove it"
        raise DataError("cannot export beside", str(path), why=why, fix=fix)


_BROKEN = (
    OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, MemoryError,
    TypeError, KeyError, SyntaxError,
)  # fmt: skip
"""What a damaged file ends in; an unknown compression is a kind of RuntimeError."""


def _read_arrays(path: Path) -> Arrays:
    """The arrays in a file; none if there is no such file, or it is not of sane size."""
    try:
        with zipfile.ZipFile(path) as opened:
            if sum(member.file_size for member in opened.infolist()) > _MOST_BYTES:
                return {}
            if not all(_is_whole(opened, member) for member in opened.infolist()):
                return {}
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except _BROKEN:
        return {}


def _is_whole(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether an array is as large as its header says, for which memory would be taken."""
    with opened.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return math.prod(shape) * dtype.itemsize + file.tell() == member.file_size

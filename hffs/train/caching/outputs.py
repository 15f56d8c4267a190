"""What an encoder gave: brought to the CPU, held to what can be kept, and put together.

Owns what is refused of it. Must not know where it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hffs.errors import DataError
from hffs.train.caching.chunks import ImageSample, Sample


def join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a chunk. DataError where batches differ in more than their length."""
    kinds = [{name: (each.dtype, each.shape[1:]) for name, each in part.items()} for part in parts]
    if any(kind != kinds[0] for kind in kinds):
        why = "it made tensors of other names, types or shapes in another batch"
        raise DataError("cannot use the encoder", why=why, fix="pad texts to one length")
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def fetch(encoded: Mapping[str, Tensor], samples: Sequence[Sample]) -> dict[str, Tensor]:
    """The tensors of a batch, on the CPU. DataError where they are not of that batch, or have no
    numbers.
    """
    fetched = dict[str, Tensor]()
    for name, tensor in sorted(encoded.items()):
        if tensor.ndim < 1 or len(tensor) != len(samples):
            why = f"{name} has shape {tuple(tensor.shape)} for {len(samples)} samples"
            raise DataError("cannot use the encoder", why=why)
        if tensor.layout != torch.strided or tensor.is_complex() or not name.isprintable():
            why = f"{name!r} is of {tensor.dtype}, {tensor.layout}: plain numbers are kept"
            raise DataError("cannot use the encoder", why=why)
        fetched[name] = tensor.detach().to("cpu").contiguous()
        if not tensor.is_floating_point():
            continue
        numbers = fetched[name].reshape(len(samples), -1)
        finite = torch.isfinite(numbers.float()).all(1).tolist()
        if not all(finite):
            which = show(samples[finite.index(False)])
            why = "they are not finite, as those of some encoders in float16"
            fix = "use --dtype bfloat16 or float32"
            raise DataError(f"cannot keep the {name} of", which, why=why, fix=fix)
    return fetched


def show(sample: Sample) -> str:
    """A sample in messages."""
    return sample.name if isinstance(sample, ImageSample) else repr(sample[:60])

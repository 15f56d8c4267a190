"""Encoders of the user's own: `module:Class`, made without arguments.

Owns finding the class and holding it to what is asked of an encoder, so that whatever is wrong with
it is one line that names it. A class is found as `python -m` finds modules, in the folder where
hffs was started too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.cuda import OutOfMemoryError

from hffs.data.filters.worker import shorten
from hffs.errors import DataError, HffsError, UsageError

B = TypeVar("B", Tensor, list[str])
_METHODS = ("identify", "load", "encode")


class _Guard(AbstractContextManager[None]):
    """Raises what somebody's code raises as a DataError that says where.

    A context, since nothing but a guard of the mount may catch everything: this passes all on.
    """

    def __init__(self, name: str, stage: str) -> None:
        self._name, self._stage = name, stage

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        passes = isinstance(error, HffsError | OutOfMemoryError | MemoryError)
        if passes or not isinstance(error, Exception | SystemExit):
            return
        frames = traceback.extract_tb(trace)
        place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"
        why = shorten(f"{self._stage} raised {type(error).__name__}: {error}".removesuffix(": "))
        raise DataError("cannot use encoder", self._name, why=why + place) from error


class Custom(Generic[B]):
    """An encoder that somebody wrote, held to what is asked of one."""

    def __init__(self, name: str) -> None:
        self._name = name
        kind = _find_class(name)
        with _Guard(name, "making it"):
            self._own: Any = kind()
        missing = [each for each in _METHODS if not callable(getattr(self._own, each, None))]
        if missing:
            raise self._refuse(f"it has no method {missing[0]}")

    def identify(self) -> Mapping[str, Any]:
        """What it says of itself, and its name. Raises DataError."""
        with _Guard(self._name, "identify"):
            facts = self._own.identify()
        try:
            plain = json.loads(json.dumps(facts, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            raise self._refuse("identify must return what JSON has") from None
        return {"custom": self._name, "facts": plain}

    def load(self, device: str) -> None:
        """Have it get ready. Raises DataError."""
        with _Guard(self._name, "load"):
            self._own.load(device)

    def encode(self, batch: B, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """What it makes of a batch. Raises DataError, also for what are no tensors of it."""
        with _Guard(self._name, "encode"):
            tensors = self._own.encode(batch, seeds)
        if not isinstance(tensors, Mapping) or not tensors:
            raise self._refuse(f"encode returned {type(tensors).__name__}, not tensors by name")
        for name, tensor in tensors.items():
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise self._refuse(f"encode returned {type(tensor).__name__} as {name!r}")
            if tensor.ndim == 0 or len(tensor) != len(seeds):
                shape = tuple(tensor.shape)
                raise self._refuse(f"encode returned {name!r} of shape {shape} for {len(seeds)}")
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def _refuse(self, why: str) -> DataError:
        return DataError("cannot use encoder", self._name, why=shorten(why))


def _find_class(name: str) -> Any:
    module_name, _, class_name = name.partition(":")
    if not module_name or not class_name.isidentifier():
        raise UsageError("cannot use encoder", name, why="it is not module:Class")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    with _Guard(name, "importing it"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if not f"{module_name}.".startswith(f"{error.name}."):
                raise
            why, fix = (
                f"there is no module {error.name}",
                "start hffs where it is, or set PYTHONPATH",
            )
            raise UsageError("cannot use encoder", name, why=why, fix=fix) from None
    kind = getattr(module, class_name, None)
    if kind is None:
        raise UsageError("cannot use encoder", name, why=f"{module_name} has no {class_name}")
    if not isinstance(kind, type):
        raise UsageError("cannot use encoder", name, why=f"{class_name} is no class")
    return kind

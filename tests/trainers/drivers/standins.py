"""What drivers put in the place of libraries that a trainer imports but a test can do without.

A stand-in is a module whose every attribute is again one, which may be called, subclassed and used
as an annotation, but which does nothing: code that needs more of it fails, and is not tested.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


class StandIn(ModuleType):
    """A module, and whatever is looked up in it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _NothingType(name, (_Nothing,), {"__module__": self.__name__})
        setattr(self, name, found)
        return found


class _NothingType(type):
    """The class of classes that stand in: their attributes are there and do nothing."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _NothingType(name, (_Nothing,), {})


class _Nothing(metaclass=_NothingType):
    """Takes any arguments."""

    def __init__(self, *arguments: object, **named: object) -> None:
        del arguments, named

    def __call__(self, *arguments: object, **named: object) -> _Nothing:
        del arguments, named
        return self


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for some modules and all below them, ahead of what is installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if not any(f"{fullname}.".startswith(f"{name}.") for name in self._names):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        del module


def stand_in_for(*names: str) -> None:
    """Let stand-ins be imported in the place of these modules, `a` or `a.b`, installed or not."""
    sys.meta_path.insert(0, _Finder(names))


def prepare_torchvision() -> object:
    """Let torchvision be imported where its compiled operators do not load.

    The wheels of PyPI have those of one build of torch. Without them the import fails, but for two
    operators alone: once they are declared all of it that is Python works. The declaration holds as
    long as what is returned.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torchvision is not installed: add it to HFFS_TRAINERS_LIBS")
    untyped: Any = torch
    try:
        untyped.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        declared = untyped.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return declared
    return None


def prepare_torchaudio() -> None:
    """Let torchaudio be imported where its compiled operators do not load.

    The wheel of PyPI has those of a build of torch with CUDA. Without them all of it that is Python
    works; it reads files by torchcodec, which has an extension of its own.
    """
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torchaudio is not installed: add it to HFFS_TRAINERS_LIBS")
    untyped: Any = torch
    try:
        untyped.ops.load_library(str(Path(spec.origin).with_name("lib") / "_torchaudio.so"))
    except OSError:
        absent: Any = ModuleType("torchaudio._extension")
        absent._IS_TORCHAUDIO_EXT_AVAILABLE = False
        absent.fail_if_no_align = lambda function: function
        sys.modules[absent.__name__] = absent

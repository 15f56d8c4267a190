"""diffusers and transformers as they are used here: imported late, quiet, and with clear errors.

Owns what may go wrong in them, as one line. Must not know what is encoded. Running out of a
device's memory passes through as it is: who chose the size of a batch can do something about it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal

from torch.cuda import OutOfMemoryError

from hffs.data.hub.libraries import find_config_error, without_warnings
from hffs.data.hub.messages import clean
from hffs.errors import DataError, HffsError, MissingLibraryError, UsageError

Library = Literal["diffusers", "transformers"]

_INSTALL = "pip install 'hffs-mount[cache]'"


def import_library(name: Library) -> ModuleType:
    """The library, told to be quiet. Raises MissingLibraryError, UsageError."""
    with import_errors(name), without_warnings():
        module = importlib.import_module(name)
        logging = importlib.import_module(f"{name}.utils.logging")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    return module


def find_class(name: Library, kind: str) -> Any:
    """A class of the library, None if it has none of that name; that imports where it is."""
    module = import_library(name)
    with import_errors(name), without_warnings():
        return getattr(module, kind, None)


@contextmanager
def import_errors(name: str) -> Iterator[None]:
    """Tell a library that is missing from one that cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or name
        why = f"{missing} is not installed"
        raise MissingLibraryError("cannot encode with", name, why=why, fix=_INSTALL) from None
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        # Both import their modules late, and say RuntimeError for whatever that ends with.
        said = clean(str(error))
        fix = f"check that its version fits the others: {_INSTALL}"
        if "torchvision" in said:
            fix = "install the torchvision that fits your torch, or none"
        raise UsageError("cannot import", name, why=said, fix=fix) from None


@contextmanager
def model_errors(what: str, which: str) -> Iterator[None]:
    """Raise what a library says of a model's files as a DataError."""
    from safetensors import SafetensorError

    try:
        with without_warnings():
            yield
    except (HffsError, OutOfMemoryError):
        raise
    except ModuleNotFoundError as error:
        why = f"it takes {error.name}, which is not installed"
        raise MissingLibraryError(what, which, why=why, fix=_INSTALL) from None
    except (
        OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError,
        ArithmeticError, AssertionError, SafetensorError, find_config_error(),
    ) as error:  # fmt: skip
        raise DataError(what, which, why=clean(str(error)) or type(error).__name__) from error


def check_loaded(info: Any, which: str) -> None:
    """Refuse a model of which some weights were not in its files: they would be random."""
    for key, why in (("missing_keys", "has no"), ("mismatched_keys", "has another shape of")):
        if names := sorted(str(name) for name in info[key]):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            said = f"its file {why} {clean(names[0])}{more}"
            fix = "the weights belong to another class, or are damaged"
            raise DataError("cannot load", which, why=said, fix=fix)

"""How datasets and huggingface_hub behave where they are asked: quiet, and bounded in time.

Both are set up through their module state, so this belongs in a short-lived child: the settings
stay. What is restored on leaving is that nothing may be asked (`without_network`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

_tell: Callable[[str], None] = log.warning


def set_up_hub() -> None:
    """Make huggingface_hub quiet, without telemetry, and never waiting without end."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, set_client_factory

    constants.HF_HUB_DISABLE_TELEMETRY = True
    with without_warnings():  # given where the environment demands bars
        disable_progress_bars()
    for name in ("huggingface_hub", "httpx2", "filelock"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    set_client_factory(_open_client)


def find_endpoint() -> str:
    """Return the address of the Hub that is asked; it may hold what must be in no message."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def find_config_error() -> type[Exception]:
    """Return what is raised for a model's configuration whose values are of other types."""
    from huggingface_hub.errors import StrictDataclassError

    return StrictDataclassError


def tell_of_waits(tell: Callable[[str], None]) -> None:
    """Have `tell` called with a line for each wait that the Hub asks for, from any thread."""
    global _tell
    _tell = tell


def _open_client() -> httpx2.Client:
    from hffs.data.hub.client import open_client

    return open_client(_tell)


def set_up_datasets() -> None:
    """Make datasets quiet, without telemetry, and never reading another copy than what is named."""
    set_up_hub()
    import datasets

    datasets.config.USE_PARQUET_EXPORT = False  # a copy that the Hub made, at another commit
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    # Its own retries are 20 x 5 s, 20 x 20 s and 20 x 60 s; a file is downloaded by hffs alone.
    datasets.config.STREAMING_READ_MAX_RETRIES = 1
    datasets.config.STREAMING_OPEN_MAX_RETRIES = 1
    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    let_dtypes_name_types_alone()


def let_dtypes_name_types_alone() -> None:
    """Refuse a dtype that is the name of a function: ValueError.

    For the type of a column that a data set calls `x`, `datasets` calls `pyarrow.x()`, whatever
    that does; `create_library_symlinks` writes into Python's own folder.
    """
    import pyarrow as pa
    from datasets.features import features

    convert = features.string_to_arrow

    def convert_type(dtype: str) -> pa.DataType:
        if {dtype, f"{dtype}_"} & pa.__dict__.keys():
            pa.type_for_alias(dtype)
        return convert(dtype)

    if convert.__module__ != __name__:  # it may be set up already
        features.string_to_arrow = convert_type


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep what the libraries warn of from the terminal; what matters is an error of hffs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def without_network() -> Iterator[None]:
    """Make every question to the Hub an error at once, whatever the environment says."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before

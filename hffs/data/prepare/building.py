"""Files that `datasets` itself reads into one Arrow table: folders, CSV, JSON, texts.

Owns calling a builder of `datasets`, and what its failures mean. Must not know Parquet.
Invariants: no code of a data set runs (a builder that loads pickles is not on the list); nothing is
asked of any network; nothing is printed; rows are in the order of the job's files; nothing that
decodes videos or sounds is loaded.
"""

from __future__ import annotations

import errno
import importlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa

from hffs.data.hub.failures import NO_MEMORY
from hffs.data.hub.libraries import let_dtypes_name_types_alone
from hffs.data.hub.listing import replaced
from hffs.data.hub.media import FOLDERS, METADATA_NAMES, find_extensions
from hffs.data.prepare.job import Job
from hffs.data.prepare.paths import shorten_path
from hffs.errors import DataError, FormatError

FORMATS = (*FOLDERS, "csv", "json", "text")

_SPLIT = "train"
"""What the one split is called while it is built; its real name may be any."""

_ONE_SHARD = 1 << 62
_MAX_WHY = 300
_MIXED = "Schema at index"  # how pyarrow refuses to join tables
_REPORT_ROWS = 1000

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What parsers raise over bytes and values that somebody else wrote. datasets wraps it in errors of
# its own only where rows are generated, not where columns are looked for.
_FAILURES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    UnboundLocalError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
)


def build_arrow(job: Job, folder: Path) -> Path:
    """Write a job's rows into an Arrow stream below `folder`, an empty one, and return its path.

    Raises DataError, FormatError.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    datasets.config.HF_HUB_OFFLINE = True
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    let_dtypes_name_types_alone()
    watch = _Watch(job)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas tells of columns whose types are mixed
            builder = _open_builder(job, folder, watch)
            with _naming_files():
                builder.download_and_prepare(max_shard_size=_ONE_SHARD)
    except (DatasetsError, *_FAILURES) as error:
        raise _explain(job, error, watch.current_file) from error
    return Path(builder.cache_dir, f"{builder.dataset_name}-{_SPLIT}.arrow")


def _open_builder(job: Job, folder: Path, watch: _Watch) -> Any:
    """The builder itself: `load_dataset_builder` would take file names for glob patterns."""
    from datasets import Features
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.load import import_main_class

    module = importlib.import_module(f"datasets.packaged_modules.{job.format}.{job.format}")
    files = DataFilesList(_needed_files(job), [])
    options = dict(job.options)
    if isinstance(features := options.get("features"), Mapping):
        options["features"] = Features.from_dict(features)
    builder = import_main_class(module.__name__)(
        cache_dir=os.fspath(folder),
        data_files=DataFilesDict({_SPLIT: files}),
        config_id="prepared",  # else all file names are hashed for it
        **options,
    )
    for name in ("_generate_examples", "_generate_tables"):
        if hasattr(builder, name):
            setattr(builder, name, watch.follow(getattr(builder, name)))
    if job.format in FOLDERS:
        builder.EXTENSIONS = sorted(find_extensions(FOLDERS[job.format]))
        names = frozenset(map(os.fspath, job.files))
        builder._split_generators = partial(
            _split_without_download, builder._split_generators, names
        )
    return builder


@contextmanager
def _naming_files() -> Iterator[None]:
    """While this lasts, a file of a folder is named in its row, whatever it is: `datasets` loads
    torchcodec for a video or a sound, though it does no more.
    """
    from datasets import Audio, Video

    with (
        replaced(Audio, "encode_example", _name_file),
        replaced(Video, "encode_example", _name_file),
    ):
        yield


def _name_file(feature: object, path: str) -> dict[str, str | None]:
    return {"bytes": None, "path": path}


def _needed_files(job: Job) -> list[str]:
    """The files that rows are made from: images are not, where metadata tells of them."""
    files = [os.fspath(file) for file in job.files]
    if job.format not in FOLDERS or job.options.get("drop_metadata"):
        return files
    told = frozenset(job.options.get("metadata_filenames") or METADATA_NAMES)
    names = [os.path.basename(file) for file in files]
    if told.isdisjoint(names):
        return files
    is_needed = [name in told or name.lower().endswith(".zip") for name in names]
    return list(compress(files, is_needed))


def _split_without_download(
    split: Callable[[Any], Any], names: frozenset[str], manager: Any
) -> Any:
    """What a builder makes of its files, without a look at each: that takes 0.1 ms, and images may
    be elsewhere. What is no file here it takes for an unpacked archive, and lists.
    """
    iter_files = manager.iter_files
    manager.download = lambda files: files
    manager.iter_files = lambda path: [path] if path in names else iter_files(path)
    return split(manager)


class _Watch:
    """Sees what a builder generates: the only way to know how far it is, and in which file."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._order = {os.fspath(file): number for number, file in enumerate(job.files)}
        self._arguments: dict[str, Any] = {}

    def follow(self, generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The same generator, watched."""

        def generate_watched(**arguments: Any) -> Iterator[Any]:
            if isinstance(metadata := arguments.get("metadata_files"), set):
                # rows come file by file, and a set has another order in each process
                arguments["metadata_files"] = sorted(metadata, key=self._place)
            if "files" in arguments:
                arguments["files"] = [_name_by_member(*entry) for entry in arguments["files"]]
            self._arguments = arguments
            done = reported = 0
            for key, rows in generate(**arguments):
                yield key, rows
                done += len(rows) if isinstance(rows, pa.Table) else 1
                if done - reported >= _REPORT_ROWS:
                    self._job.progress("reading rows", done, 0)
                    reported = done
            self._job.progress("reading rows", done, 0)

        return generate_watched

    @property
    def current_file(self) -> str:
        """The file that is being read; empty where that is not known."""
        for name in ("files_iterables", "files"):
            read = [getattr(files, "last_item", None) for files in self._arguments.get(name, ())]
            if found := [file for file in read if isinstance(file, str)]:
                return found[-1]
        readable = [file for file in self._order if os.path.basename(file) in METADATA_NAMES]
        candidates = readable or list(self._order)
        return candidates[0] if len(candidates) == 1 else ""

    def _place(self, metadata: tuple[str | None, str | None, str]) -> tuple[int, str]:
        original, _, path = metadata
        archive = path.rpartition("::")[2]
        return self._order.get(original or archive, len(self._order)), path


def _name_by_member(original: str, folder: str | None, files: Any) -> tuple[str | None, Any, Any]:
    """What a folder reads, so that the label of a zip's member is that of its own folder.

    datasets 5.2 takes the folder of the archive for it, which is no label, and fails.
    """
    return (original if folder is None else None, folder, files)


def explain_os_error(job: Job, error: OSError) -> DataError:
    """One line for a disk that is full, or a file that cannot be read."""
    if error.errno in _FULL:
        why = f"{job.folder}: {os.strerror(error.errno).lower()}"
        return DataError("cannot prepare", job.name, why=why, fix="make room, or move cache_dir")
    why = os.strerror(error.errno).lower() if error.errno else _first_line(error)
    which = f"{error.filename} of {job.name}" if error.filename else job.name
    return DataError("cannot read", which, why=why)


def _explain(job: Job, error: BaseException, file: str) -> DataError:
    """One line for what `datasets` raised: the error that it wraps, and the file if it is known."""

    chain = list(_list_causes(error))
    full = [cause for cause in chain if isinstance(cause, OSError) and cause.errno in _FULL]
    if full:
        return explain_os_error(job, full[0])
    if isinstance(chain[-1], zipfile.BadZipFile):
        archives = [file for file in job.files if file.suffix.lower() == ".zip"]
        file = next((str(path) for path in archives if not zipfile.is_zipfile(path)), file)
    which = f"{shorten_path(file, job.root)} of {job.name}" if file else job.name
    if others := _describe_other_columns(chain):
        fix = "name files with the same columns by data_files"
        return DataError("cannot use", which, why=others, fix=fix)
    if isinstance(chain[-1], UnicodeDecodeError):
        return FormatError("cannot read", which, why="it is not UTF-8", fix="convert it to UTF-8")
    return FormatError("cannot read", which, why=_first_line(chain[-1]))


def _describe_other_columns(chain: list[BaseException]) -> str:
    """What files of different columns are refused with; empty for any other failure."""
    from datasets.table import CastError

    details = [cause.details() for cause in chain if isinstance(cause, CastError)]
    if details:
        return f"its columns are not those of the files before it: {details[0]}"
    is_mixed = isinstance(chain[-1], pa.ArrowInvalid) and str(chain[-1]).startswith(_MIXED)
    return "its files have different columns" if is_mixed else ""


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised for, the first one last."""
    from datasets.exceptions import DatasetGenerationError

    current: BaseException | None = error
    while current is not None:
        yield current
        # these two are raised by datasets in place of what happened, sometimes `from None`
        wraps = isinstance(current, DatasetGenerationError) or type(current) is OSError
        current = current.__cause__ or (current.__context__ if wraps else None)


def _first_line(error: BaseException) -> str:
    if isinstance(error, StopIteration):  # json's way to say so
        return "its files are empty"
    if isinstance(error, MemoryError):
        return NO_MEMORY
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0].strip().rstrip(":.") if lines else type(error).__name__
    return text if len(text) <= _MAX_WHY else text[:_MAX_WHY] + "..."

"""Making a job's files into one Parquet table: the entry of this package.

Owns the choice of the way, and that nothing but the table is left. Runs in a process of its own,
since `datasets` is loaded for most formats; it reads local files only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from hffs.data.prepare.building import FORMATS, build_arrow, explain_os_error
from hffs.data.prepare.job import Job
from hffs.data.prepare.paths import shorten_cells
from hffs.data.prepare.table import TableWriter
from hffs.data.prepare.webdataset import write_webdataset
from hffs.data.source import is_list
from hffs.errors import DataError, FormatError

_TABLE = "rows.parquet"


def prepare(job: Job) -> tuple[Path, ...]:
    """Write `job.folder/rows.parquet` and return its path; rows are those of `load_dataset`.

    Raises DataError, FormatError, SourceError, AccessError, StaleError.
    """
    path = job.folder / _TABLE
    if not job.files:
        raise DataError("cannot use", job.name, why=f"its split {job.split} has no files")
    try:
        if job.format == "webdataset":
            write_webdataset(job, path)
        elif job.format in FORMATS:
            _write_built(job, path)
        else:
            fix = f"formats: parquet, arrow, webdataset, {', '.join(FORMATS)}"
            why = f"hffs does not read the format {job.format}"
            raise DataError("cannot use", job.name, why=why, fix=fix)
    except OSError as error:
        raise explain_os_error(job, error) from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise FormatError("cannot prepare", job.name, why=why) from error
    return (path,)


def _write_built(job: Job, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=job.folder, prefix="building-") as folder:
        built = build_arrow(job, Path(folder))
        with pa.memory_map(str(built)) as file:
            stream = pa.ipc.open_stream(file)
            kept = _select_columns(job, stream.schema)
            done = 0
            with TableWriter(path, kept) as writer:
                for batch in stream:
                    writer.add(shorten_cells(batch.select(kept.names), job.root))
                    done += batch.num_rows
                    job.progress("writing rows", done, 0)


def _select_columns(job: Job, schema: pa.Schema) -> pa.Schema:
    """Columns that Parquet can hold: it has no struct without fields, which JSON's `{}` becomes."""
    lost = [field.name for field in schema if _has_empty_struct(field.type)]
    if lost:
        job.notice(f"columns of empty objects left out of {job.name}: {', '.join(lost)}")
    kept = [field for field in schema if field.name not in lost]
    if not kept:
        raise DataError("cannot use", job.name, why="it has no columns")
    return pa.schema(kept, schema.metadata)


def _has_empty_struct(kind: pa.DataType) -> bool:
    if is_list(kind):
        return _has_empty_struct(kind.value_type)
    if not pa.types.is_struct(kind):
        return False
    return not kind.num_fields or any(_has_empty_struct(field.type) for field in kind)

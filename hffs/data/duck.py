"""DuckDB, locked: queries over one Arrow table each, and nothing else that DuckDB can reach.

Owns the database of this process, what it may not do (files, network, extensions, settings, Python
variables as tables) and what a query may take. It must not know what is asked, or why. Import it
late: DuckDB takes 0.1 s to load.

Invariants: no query sees more than the table it is given; none leaves anything behind; memory is
bounded, time is not. A process that has opened the database must not fork and use it in the child.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache

import duckdb
import pyarrow as pa

from hffs.data.proc import read_status
from hffs.errors import DataError

TABLE = "hffs_rows"
"""Name of the table that a query is given."""

_MEMORY_LIMIT = "1GB"
_SPARE_BYTES = 2 << 30
"""What a query may take in all. DuckDB's own limit does not count the lists and texts that
functions make: `range(4000000000)` took 32 GB under a limit of 1 GB."""

_THREADS = "4"
_MAX_DEPTH = 200
"""Deepest expression: its tree is read as JSON, three levels for each, with Python's recursion."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "memory_limit": _MEMORY_LIMIT,
    "python_enable_replacements": "false",
    "temp_directory": "",
    "threads": _THREADS,
}
# GLOBAL: for every connection that is made later, too
_SETTINGS = (
    f"SET GLOBAL max_expression_depth = {_MAX_DEPTH}",
    "SET GLOBAL TimeZone = 'UTC'",
    "SET GLOBAL lock_configuration = true",
)


@contextmanager
def open_connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own to a database without tables."""
    with closing(_open_database().cursor()) as connection:
        try:
            yield connection
        except (duckdb.FatalException, duckdb.InternalException):
            _open_database.cache_clear()  # after such an error it answers nobody any more
            raise


@cache
def _open_database() -> duckdb.DuckDBPyConnection:
    """Once a process: to open one takes 10 to 25 ms, as long as to ask a million rows."""
    database = duckdb.connect(":memory:", config=_CONFIG)
    for setting in _SETTINGS:
        database.execute(setting)
    return database


@contextmanager
def give_table(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[None]:
    """Let queries see an Arrow table as `TABLE`, within `bounded_memory`.

    Bytes that are no UTF-8 are U+FFFD to them: DuckDB relies on texts, and ends if they are broken.
    """
    connection.register(TABLE, _clean(table))
    try:
        with bounded_memory():
            yield
    finally:
        connection.unregister(TABLE)


def _clean(table: pa.Table) -> pa.Table:
    try:
        table.validate(full=True)  # 1 ms for a million short texts
    except pa.ArrowInvalid:
        return pa.table([_clean_texts(column) for column in table.columns], table.column_names)
    return table


def _clean_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    texts = kind.value_type if pa.types.is_dictionary(kind) else kind
    if texts in (pa.string(), pa.large_string()):
        raw = column.cast(texts).cast(pa.large_binary()).to_pylist()
        clean = [None if text is None else text.decode("utf-8", "replace") for text in raw]
        return pa.chunked_array([pa.array(clean, pa.large_string())])
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        why = next(iter(str(error).splitlines()), "")
        raise DataError("cannot filter on", str(kind), why=why) from error
    return column


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let allocations beyond `_SPARE_BYTES` fail, in this whole process, which DuckDB reports."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(read_status()["VmData"][0]) << 10
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([used + _SPARE_BYTES, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its drawing of the statement and its general advice."""
    return re.split(r"\n\s*(?:LINE \d+:|Possible solutions:)", str(error))[0]

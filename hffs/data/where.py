"""`filter_func.where`: one DuckDB expression over a row's metadata, and nothing more than that.

Owns the whole passage to DuckDB: what a condition may say, the locked connection it runs in, and
its errors in one line. It must not know what is done with the answer. Imported only where a
condition is set: DuckDB takes 0.1 s to load.

A condition may come with somebody else's configuration, so it is refused unless it is a single
expression over known columns (DuckDB's own parser says so), calls only functions that look at one
row's values and always answer the same, and needs no file, network, setting or extension; none of
these is open to the connection either. What it may take is bounded in memory, not in time.
Invariant: the same rows and condition give the same answer on every host, at any time.
"""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.metadata import metadata_columns, read_batches, require_metadata, unknown_name
from hffs.data.source import Source
from hffs.errors import ConfigError

_KEY = "where"
_TABLE = "hffs_rows"
_MEMORY_LIMIT = "1GB"
_SPARE_BYTES = 2 << 30
"""What a query may take in all. DuckDB's own limit does not count the lists and texts that
functions make: `range(4000000000)` took 32 GB under a limit of 1 GB."""

_THREADS = "4"
_MAX_DEPTH = 200
"""Deepest expression: its tree is read as JSON, three levels for each, with Python's recursion."""

_SHOWN_CHARS = 300
"""A condition, and a value of the data set in DuckDB's message, may be of any length."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "memory_limit": _MEMORY_LIMIT,
    "python_enable_replacements": "false",
    "temp_directory": "",
    "threads": _THREADS,
}
_SETTINGS = (
    f"SET max_expression_depth = {_MAX_DEPTH}",
    "SET TimeZone = 'UTC'",
    "SET lock_configuration = true",
)

_ALLOWED_NODES = frozenset(
    {
        "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION",
        "CONSTANT", "FUNCTION", "LAMBDA", "OPERATOR", "TYPE",
    }
)  # fmt: skip

# pg_catalog's functions are about a server, not about a row.
_FUNCTIONS = """
    SELECT DISTINCT function_name, function_type = 'macro' OR stability = 'CONSISTENT'
        AND function_type = 'scalar'
    FROM duckdb_functions()
    WHERE function_name IN (SELECT unnest($1)) AND schema_name <> 'pg_catalog'
        AND function_type NOT IN ('table', 'table_macro', 'pragma')
"""
_CLOCK_FUNCTIONS = frozenset({"age", "ago", "current_localtime", "current_localtimestamp"})
"""They read the clock, though DuckDB's catalog calls them consistent (`age` with one argument)."""


def evaluate_where(source: Source, condition: str) -> NDArray[np.bool_]:
    """Whether the condition holds for each row of the source; where it is NULL, it does not.

    Raises ConfigError for whatever is wrong with the condition, with DuckDB's message if that is
    what found it.
    """
    with closing(_connect()) as connection:
        try:
            names = _referenced_columns(connection, source, condition)
            if not names:
                return np.full(source.rows, _ask(connection, condition, pa.table({"": [None]}))[0])
            answers = [
                _ask(connection, condition, pa.Table.from_batches([batch]))
                for batch in read_batches(source, names)
            ]
        except duckdb.Error as error:
            raise _refusal(condition, _one_line(error)) from error
    return np.concatenate(answers) if answers else np.zeros(0, np.bool_)


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config=_CONFIG)
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def _ask(
    connection: duckdb.DuckDBPyConnection, condition: str, table: pa.Table
) -> NDArray[np.bool_]:
    connection.register(_TABLE, table)
    with _bounded_memory():
        answer = connection.sql(_wrapped(condition))
        kinds = [str(kind) for kind in answer.types]
        if kinds != ["BOOLEAN"]:
            raise _refusal(condition, f"it is neither true nor false, but {', '.join(kinds)}")
        (values,) = answer.fetchnumpy().values()
    return np.ma.filled(values, False).astype(np.bool_, copy=False)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let allocations beyond `_SPARE_BYTES` fail, in this whole process, which DuckDB reports."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    used = int(status.partition("VmData:")[2].split()[0]) << 10
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([used + _SPARE_BYTES, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _bare(condition: str) -> str:
    return f"FROM {_TABLE} SELECT {condition}"


def _wrapped(condition: str) -> str:
    # The line break ends a comment that the condition may end with.
    return f"FROM {_TABLE} SELECT ({condition}\n)"


def _referenced_columns(
    connection: duckdb.DuckDBPyConnection, source: Source, condition: str
) -> list[str]:
    """Columns that a condition names, after every check that needs no rows."""
    names: set[str] = set()
    functions: set[str] = set()
    for node, bound in _walk(_parse(connection, condition)):
        kind = node["class"]
        if kind not in _ALLOWED_NODES:
            raise _refusal(condition, f"a {kind.lower()} is no part of a condition on one row")
        if kind == "FUNCTION":
            functions.add(node["function_name"].lower())
            # `tags.len()` is parsed as a function in a schema, which may be a column instead
            qualifier = node["catalog"] or node["schema"]
            names |= _match_column(source, qualifier, frozenset({qualifier.lower()}))
        if kind == "COLUMN_REF":
            names |= _match_column(source, node["column_names"][0], bound)
    _check_functions(connection, condition, functions)
    alike = {name.lower(): name for name in sorted(names)}
    if twins := names - set(alike.values()):
        twin = min(twins)
        raise _refusal(condition, f"{twin} and {alike[twin.lower()]} are one name to DuckDB")
    return sorted(names)


def _parse(connection: duckdb.DuckDBPyConnection, condition: str) -> object:
    """Tree of a condition, which must mean the same with and without parentheses around it.

    That only a single whole expression does: `a) OR (b` needs the parentheses; `a; b`, `a, b` and
    `a UNION SELECT b` bear none.
    """
    bare, wrapped = (_tree(connection, condition, sql(condition)) for sql in (_bare, _wrapped))
    if bare != wrapped:
        raise _refusal(condition, "it is not one expression")
    return wrapped


def _tree(connection: duckdb.DuckDBPyConnection, condition: str, sql: str) -> object:
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise _refusal(condition, "it is not valid text") from None
    ((text,),) = connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()
    tree = json.loads(text, object_hook=_without_location)
    if tree["error"]:
        is_syntax = tree["error_type"] == "parser"
        raise _refusal(condition, tree["error_message"] if is_syntax else "it is not an expression")
    return tree


def _without_location(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if not key.startswith("query_location")}


def _walk(tree: object) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Every expression of a tree, with the names that lambdas around it bind, in lower case.

    `->` is JSON's arrow as well, which only DuckDB's binder tells from a lambda: what stands on its
    left counts as bound, and as a column where there is one.
    """
    stack: list[tuple[object, frozenset[str]]] = [(tree, frozenset())]
    while stack:
        node, bound = stack.pop()
        if isinstance(node, list):
            stack += [(item, bound) for item in node]
        elif isinstance(node, dict):
            if node.get("class") == "LAMBDA":
                bound |= {ref["column_names"][0].lower() for ref in _column_refs(node["lhs"])}
            if "class" in node:
                yield node, bound
            stack += [(item, bound) for item in node.values()]


def _column_refs(tree: object) -> list[dict[str, Any]]:
    return [node for node, _ in _walk(tree) if node["class"] == "COLUMN_REF"]


def _match_column(source: Source, name: str, bound: frozenset[str]) -> set[str]:
    """The column that a name means, as DuckDB finds it: in any case, but its own case first."""
    known = metadata_columns(source)
    alike = [column for column in known if column.lower() == name.lower()]
    if name in alike:
        require_metadata(source, name, _KEY)
        return {name}
    if len(alike) == 1 or name.lower() in bound:
        return set(alike[:1])
    if alike:
        why = f"it may mean {' or '.join(alike)}"
        raise ConfigError(f"cannot use {_KEY}", name, why=why, fix="write it as the column is")
    if name in source.schema.names:
        require_metadata(source, name, _KEY)
    raise unknown_name(_KEY, name, known)


def _check_functions(
    connection: duckdb.DuckDBPyConnection, condition: str, names: set[str]
) -> None:
    """Refuse functions that do not exist, span rows, or need not answer the same twice."""
    names = {name for name in names if any(map(str.isalpha, name))}
    if not names:  # operators alone: the catalog takes 25 ms to search
        return
    found = connection.execute(_FUNCTIONS, [sorted(names)]).fetchall()
    refused = {name for name, allowed in found if not allowed} | (names & _CLOCK_FUNCTIONS)
    if missing := names - {name for name, _ in found}:
        raise _refusal(condition, f"there is no function {min(missing)} of a row's values")
    if refused:
        raise _refusal(condition, f"{min(refused)} does not depend on the row's values alone")


def _refusal(condition: str, why: str) -> ConfigError:
    return ConfigError(f"cannot use {_KEY}", _shorten(repr(condition)), why=_shorten(why))


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its drawing of the statement and its general advice."""
    return re.split(r"\n\s*(?:LINE \d+:|Possible solutions:)", str(error))[0]

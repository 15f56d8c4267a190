"""`filter_func.where`: one DuckDB expression over a row's metadata, and nothing more than that.

Owns what a condition may say, and what becomes of DuckDB's answer or error. It must not know what
is done with the answer. Imported only where a condition is set: DuckDB takes 0.1 s to load.

A condition may come with somebody else's configuration, so it is refused unless it is a single
expression over known columns (DuckDB's own parser says so), calls only functions that look at one
row's values and always answer the same, and needs no file, network, setting or extension; none of
these is open to the connection either (`hffs.data.duck`). What it may take is bounded in memory,
not in time.
Invariant: the same rows and condition give the same answer on every host, at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.duck import TABLE, give_table, one_line, open_connection
from hffs.data.metadata import (
    ColumnPath,
    metadata_columns,
    plain_type,
    read_tables,
    require_metadata,
    unknown_name,
)
from hffs.data.source import Source
from hffs.errors import ConfigError

_KEY = "where"
_TRY = "write TRY(json->>'key') where a text may be broken"
_SHOWN_CHARS = 300
"""A condition, and a value of the data set in DuckDB's message, may be of any length."""

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
_PLAIN_FUNCTIONS = frozenset(
    {
        "abs", "array_length", "ceil", "char_length", "concat", "contains", "ends_with",
        "floor", "greatest", "json_array_length", "json_exists", "json_extract",
        "json_extract_string", "json_type", "json_valid", "least", "len", "length",
        "list_contains", "list_has_all", "list_has_any", "lower", "ltrim", "md5", "mod", "nullif",
        "prefix", "regexp_matches", "replace", "round", "rtrim", "starts_with", "strlen",
        "struct_extract", "suffix", "trim", "upper",
    }
)  # fmt: skip
"""Functions that the catalog would allow: it takes 10 to 25 ms to search."""

_REFUSED_FUNCTIONS = frozenset(
    {
        "age", "ago", "current_localtime", "current_localtimestamp",
        "combine", "create_sort_key", "finalize", "get_block_size", "index_key",
        "parse_duckdb_log_message", "to_aggregate_state",
        "current_catalog", "current_role", "current_user", "session_user", "user", "version",
        "json_deserialize_sql", "json_serialize_plan", "json_serialize_sql",
    }
)  # fmt: skip
"""DuckDB's catalog calls them consistent, but they read the clock (`age` with one argument), take
DuckDB's own bytes on trust, tell of the host, or plan statements."""


def evaluate_where(source: Source, condition: str) -> NDArray[np.bool_]:
    """Whether the condition holds for each row of the source; where it is NULL, it does not.

    Raises ConfigError for whatever is wrong with the condition, with DuckDB's message if that is
    what found it.
    """
    with open_connection() as connection:
        try:
            paths = _referenced_columns(connection, source, condition)
            if not paths:
                return np.full(source.rows, _ask(connection, condition, pa.table({"": [None]}))[0])
            answers = [_ask(connection, condition, table) for table in read_tables(source, paths)]
        except duckdb.Error as error:
            why = one_line(error)
            fix = _TRY if "Malformed JSON" in why else ""
            raise _refusal(condition, why, fix) from error
    return np.concatenate(answers) if answers else np.zeros(0, np.bool_)


def _ask(
    connection: duckdb.DuckDBPyConnection, condition: str, table: pa.Table
) -> NDArray[np.bool_]:
    with give_table(connection, table):
        answer = connection.sql(_wrapped(condition))
        kinds = [str(kind) for kind in answer.types]
        if kinds != ["BOOLEAN"]:
            raise _refusal(condition, f"it is neither true nor false, but {', '.join(kinds)}")
        (values,) = answer.fetchnumpy().values()
    return np.ma.filled(values, False).astype(np.bool_, copy=False)


def _bare(condition: str) -> str:
    return f"FROM {TABLE} SELECT {condition}"


def _wrapped(condition: str) -> str:
    # The line break ends a comment that the condition may end with.
    return f"FROM {TABLE} SELECT ({condition}\n)"


def _referenced_columns(
    connection: duckdb.DuckDBPyConnection, source: Source, condition: str
) -> list[ColumnPath]:
    """Columns that a condition names, after every check that needs no rows.

    A struct of which it only names fields has no more than these.
    """
    fields: dict[str, set[str | None]] = {}  # None: the column itself
    functions: set[str] = set()
    for node, bound in _walk(_parse(connection, condition)):
        kind = node["class"]
        if kind not in _ALLOWED_NODES:
            raise _refusal(condition, f"a {kind.lower()} is no part of a condition on one row")
        if kind == "FUNCTION":
            functions.add(node["function_name"].lower())
            # `tags.len()` is parsed as a function in a schema, which may be a column instead
            qualifier = node["catalog"] or node["schema"]
            for column in _match_column(source, qualifier, frozenset({qualifier.lower()})):
                fields.setdefault(column, set()).add(None)
        if kind == "COLUMN_REF":
            name, *inner = node["column_names"]
            for column in _match_column(source, name, bound):
                fields.setdefault(column, set()).add(inner[0] if inner else None)
    _check_functions(connection, condition, functions)
    alike = {name.lower(): name for name in sorted(fields)}
    if twins := set(fields) - set(alike.values()):
        twin = min(twins)
        raise _refusal(condition, f"{twin} and {alike[twin.lower()]} are one name to DuckDB")
    return [_narrow(source, name, fields[name]) for name in sorted(fields)]


def _narrow(source: Source, name: str, fields: set[str | None]) -> ColumnPath:
    kind = plain_type(source.schema.field(name).type)
    if pa.types.is_struct(kind) and fields <= {field.name for field in kind}:
        kind = pa.struct([field for field in kind if field.name in fields])
    return ColumnPath(name, kind)


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
    names = {name for name in names - _PLAIN_FUNCTIONS if any(map(str.isalpha, name))}
    if not names:
        return
    found = connection.execute(_FUNCTIONS, [sorted(names)]).fetchall()
    refused = {name for name, allowed in found if not allowed} | (names & _REFUSED_FUNCTIONS)
    if missing := names - {name for name, _ in found}:
        raise _refusal(condition, f"there is no function {min(missing)} of a row's values")
    if refused:
        raise _refusal(condition, f"{min(refused)} does not depend on the row's values alone")


def _refusal(condition: str, why: str, fix: str = "") -> ConfigError:
    return ConfigError(f"cannot use {_KEY}", _shorten(repr(condition)), why=_shorten(why), fix=fix)


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."

"""What JSON texts have at a path of keys, for whole columns at once, by DuckDB.

Owns the queries. It must not know configuration or columns' names. Imported only where a JSON text
is to be read: DuckDB takes 0.1 s to load.

Invariants: a broken text has nothing in it, like an array where an object was to be; keys mean
themselves whatever characters they have, and are bound, never part of a query's words; a number in
quotes is a text. 1M texts of two keys take about 0.1 s, `json.loads` 1.4 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.duck import TABLE, give_table, one_line, open_connection
from hffs.errors import DataError

_VALID = f"FROM {TABLE} SELECT CASE WHEN json_valid(texts) THEN texts END AS texts"

# A number is the only value whose text begins with a digit or a minus; of these -Infinity, which
# is no JSON, is none of use. `json_type` would cost a third more.
_NUMBERS = """
    FROM ({found})
    SELECT CASE WHEN value BETWEEN '-' AND ':' THEN TRY_CAST(value AS DOUBLE) END,
        CASE WHEN value IS NULL THEN 0 WHEN value = 'null' THEN 1
            WHEN value BETWEEN '-' AND ':' THEN 2 ELSE 3 END::UTINYINT
"""

_TAGGED = """
    FROM (
        FROM ({found})
        SELECT json_type(value) AS kind, value,
            CASE kind WHEN 'ARRAY' THEN json_extract(value, '$[*]') ELSE [value::JSON] END AS items
    )
    SELECT [
        CASE
            WHEN json_type(item) = 'VARCHAR' THEN 't' || json_extract_string(item, '$')
            WHEN json_type(item) IN ('BIGINT', 'UBIGINT') THEN 'n' || item::VARCHAR
        END
        FOR item IN items
    ]
"""
"""Text `t...` for each string, `n...` for each whole number, in a list; null for all else."""

Keys = tuple[str, ...]


def read_json_numbers(
    texts: pa.ChunkedArray, ways: Sequence[Keys]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The number at the first of some chains of keys that a text has, and what was there.

    Numbers are NaN where there is none. Kinds are 0 for nothing, 1 for null, 2 for a number, 3 for
    another value.
    """
    answer = _ask(_NUMBERS, texts, ways)
    numbers, kinds = (answer.column(at).combine_chunks() for at in range(2))
    return (
        numbers.fill_null(np.nan).to_numpy(zero_copy_only=False),
        kinds.to_numpy(zero_copy_only=False),
    )


def read_json_scalars(texts: pa.ChunkedArray, ways: Sequence[Keys]) -> pa.ChunkedArray:
    """Strings as `tTEXT` and whole numbers as `nDIGITS`, in a list for each text.

    A list is empty, or holds nulls, where a text has neither at any of the chains of keys.
    """
    return _ask(_TAGGED, texts, ways).column(0)


def _ask(query: str, texts: pa.ChunkedArray, ways: Sequence[Keys]) -> pa.Table:
    bound: list[str] = []
    value = ", ".join(_extract(keys, bound) for keys in ways)
    found = f"FROM ({_VALID}) SELECT coalesce({value})::VARCHAR AS value"
    with open_connection() as connection:
        try:
            with give_table(connection, pa.table({"texts": texts})):
                return connection.sql(query.format(found=found), params=bound).to_arrow_table()
        except duckdb.Error as error:
            raise DataError("cannot read", "JSON texts", why=one_line(error)) from error


def _extract(keys: Keys, bound: list[str]) -> str:
    """Expression for what is at a chain of keys in `texts`; the keys go to `bound`.

    A JSON pointer takes any key, but digits for a place in an array too; a path takes digits for a
    key, but not every other key.
    """
    value = "texts"
    for key in keys:
        is_place = key.isascii() and key.isdigit()
        escaped = key.replace("~", "~0").replace("/", "~1")
        bound.append(f'$."{key}"' if is_place else f"/{escaped}")
        value = f"json_extract({value}, ${len(bound)})"
    return value

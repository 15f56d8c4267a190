from __future__ import annotations

import subprocess
import sys

import duckdb
import pyarrow as pa
import pytest

from hffs.data import duck
from hffs.data.filters.where import _FUNCTIONS, _PLAIN_FUNCTIONS
from hffs.errors import DataError


def test_a_table_is_gone_after_its_queries() -> None:
    with duck.open_connection() as connection:
        with duck.give_table(connection, pa.table({"n": [1]})):
            assert connection.sql(f"FROM {duck.TABLE}").fetchall() == [(1,)]
        with pytest.raises(duckdb.Error, match="does not exist"):
            connection.sql(f"FROM {duck.TABLE}")


def test_connections_share_no_table() -> None:
    with duck.open_connection() as one, duck.open_connection() as other:
        with duck.give_table(one, pa.table({"n": [1]})), pytest.raises(duckdb.Error):
            other.sql(f"FROM {duck.TABLE}")
        with pytest.raises(duckdb.Error):
            one.execute("SET GLOBAL TimeZone = 'CET'")
    with duck.open_connection() as later:
        settings = "current_setting('TimeZone'), current_setting('max_expression_depth')"
        assert later.execute(f"SELECT {settings}").fetchall() == [("UTC", 200)]


def test_the_catalog_allows_the_functions_that_it_is_not_asked_about() -> None:
    with duck.open_connection() as connection:
        found = connection.execute(_FUNCTIONS, [sorted(_PLAIN_FUNCTIONS)]).fetchall()
    assert sorted(found) == [(name, True) for name in sorted(_PLAIN_FUNCTIONS)]


@pytest.mark.parametrize(
    "module", ["filters.selection", "filters.collection", "filters.quality", "columnarrays"]
)
def test_duckdb_is_loaded_only_where_it_is_needed(module: str) -> None:
    code = f"import sys, hffs.data.{module}; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def broken_texts(*texts: bytes) -> pa.Array:
    return pa.array(texts, pa.binary()).view(pa.string())


@pytest.mark.parametrize("coded", [False, True])
def test_bytes_that_are_no_text_are_replaced(coded: bool) -> None:
    texts = broken_texts(b"a", b"\xff", b"\xc3\xa9", b"x\xed\xa0\x80")
    column = pa.DictionaryArray.from_arrays(pa.array([3, 1, None, 0]), texts) if coded else texts
    table = pa.table({"n": [1, 2, 3, 4], "texts": column})
    with duck.open_connection() as connection, duck.give_table(connection, table):
        found = connection.sql(f"FROM {duck.TABLE} SELECT upper(texts)").fetchall()
    plain = [("A",), ("\ufffd",), ("\u00c9",), ("X\ufffd\ufffd\ufffd",)]
    assert found == ([plain[3], plain[1], (None,), plain[0]] if coded else plain)


def test_broken_texts_inside_structs_are_refused() -> None:
    inner = pa.StructArray.from_arrays([broken_texts(b"a", b"\xff")], ["text"])
    table = pa.table({"inner": inner, "n": [1, 2]})
    with duck.open_connection() as connection:
        with pytest.raises(DataError, match=r"cannot filter on struct<text: string>: .*UTF8"):
            duck.give_table(connection, table).__enter__()
        assert connection.sql("SELECT 1").fetchall() == [(1,)]


def _ask_broken_texts() -> None:
    with duck.open_connection() as connection:
        connection.register("raw", pa.table({"texts": broken_texts(*[b"\xff"] * 10)}))
        connection.sql("FROM raw SELECT lower(texts)").fetchall()
        connection.sql("SELECT 1").fetchall()


def test_regression_a_fatal_error_ends_one_query_alone() -> None:
    with pytest.raises(duckdb.Error):
        _ask_broken_texts()
    with duck.open_connection() as connection:
        assert connection.sql("SELECT 1").fetchall() == [(1,)]

from __future__ import annotations

import subprocess
import sys

import duckdb
import pyarrow as pa
import pytest

from hffs.data import duck
from hffs.data.where import _FUNCTIONS, _PLAIN_FUNCTIONS


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


@pytest.mark.parametrize("module", ["filters", "collection", "quality", "columnarrays"])
def test_duckdb_is_loaded_only_where_it_is_needed(module: str) -> None:
    code = f"import sys, hffs.data.{module}; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

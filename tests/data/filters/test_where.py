from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data import duck, metadata
from hffs.data.filters.where import evaluate_where
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError

secret = pa.table({"a": [True]})
"""A Python variable that a condition could name, if DuckDB looked for tables here."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    count = 6
    table = pa.table(
        {
            "image": [b"\xff\xd8"] * count,
            "n": [0, 1, 2, 3, 4, None],
            "text": ["a cat", "A dog", None, "", "5", "; -- '"],
            "flag": [True, False, None, True, True, True],
            "kind": pa.array(["x", "y", "x", None, "x", "y"]).dictionary_encode(),
            "meta": [{"score": at / 4, "tags": ["a"] * at} for at in range(count)],
            "json": ['{"q": {"clip": 0.5}}', '{"q": 1}', None, "{}", "[1]", '"s"'],
            "a.b": [1] * count,
            "Mixed": list(range(count)),
            "twin": [1] * count,
            "Twin": [2] * count,
        }
    )
    path = tmp_path_factory.mktemp("where") / "0.parquet"
    pq.write_table(table, path)
    return open_source(locate(str(path)))


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("n >= 3", [3, 4]),
        ("n >= 3 OR n IS NULL", [3, 4, 5]),
        ("flag", [0, 3, 4, 5]),
        ("NOT flag", [1]),
        ("meta.score > 0.5", [3, 4, 5]),
        ("META.Score > 0.5 AND n < 4", [3]),
        ("len(meta.tags) = 2", [2]),
        ("meta.tags.len() = 2", [2]),
        ("meta.tags.len() = 2 AND meta.score > 0", [2]),
        ("meta.score > 0.5 AND meta IS NOT NULL", [3, 4, 5]),
        ("meta['score'] > 0.5 AND meta.score < 1", [3]),
        ("struct_extract(meta, 'score') > 0.5 AND meta.score < 1", [3]),
        ("meta.score > 0.5 AND META.Tags IS NOT NULL", [3, 4, 5]),
        ("len([t for t in meta.tags if t = 'a']) = 3", [3]),
        ("len(list_filter(meta.tags, lambda n: n = 'a')) = 3", [3]),
        ("json_extract(json, '$.q.clip')::DOUBLE >= 0.5", [0]),
        ("(json->'q'->>'clip') = '0.5'", [0]),
        ("json->>'$.q' = '1'", [1]),
        ("kind = 'x'", [0, 2, 4]),
        ("kind IN ('y', 'z')", [1, 5]),
        ("text ILIKE 'a%'", [0, 1]),
        ("text.lower() = 'a cat'", [0]),
        ("text = '; -- '''", [5]),
        ("regexp_matches(text, '^A')", [1]),
        ("TRY_CAST(text AS INTEGER) = 5", [4]),
        ("nullif(n, 1) IS NULL", [1, 5]),
        ("n BETWEEN 1 AND 2", [1, 2]),
        ("CASE WHEN n > 1 THEN flag ELSE n = 0 END", [0, 3, 4, 5][:3]),
        ('"a.b" = 1 AND mixed = 2', [2]),
        ("Twin = 2 AND n = 0", [0]),
        ("n = 1 -- and so on", [1]),
        ("n = /* one */ 1", [1]),
        ("(n = 1) OR (n = 2)", [1, 2]),
        ("true", [0, 1, 2, 3, 4, 5]),
        ("1 = 2", []),
        ("NULL::BOOLEAN", []),
    ],
)
def test_kept_rows(source: Source, condition: str, kept: list[int]) -> None:
    assert np.flatnonzero(evaluate_where(source, condition)).tolist() == kept


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("n", "it is neither true nor false, but BIGINT"),
        ("text", "it is neither true nor false, but VARCHAR"),
        ("NULL", "it is neither true nor false"),
        ("n >", 'syntax error at or near ">"'),
        ("", "where ''"),
        ("n = \ud800", "it is not valid text"),
        ("n = 1\0", "syntax error"),
        ("scor > 1", "where scor: there is no such column; columns: n, text, flag"),
        ("kindd = 'x'", "did you mean kind?"),
        ("meta.scroe > 1", 'Could not find key "scroe" in struct Candidate Entries: "score"'),
        ("image IS NULL", "where image: it holds binary data"),
        ("a.b = 1", "where a: there is no such column"),
        ("TWIN = 1", "it may mean twin or Twin"),
        ("twin = Twin", "Twin and twin are one name to DuckDB"),
        ("hffs_rows.n = 1", "where hffs_rows: there is no such column"),
        ("secret.a", "where secret: there is no such column"),
        ("rowid = 1", "where rowid: there is no such column"),
        ("n = x -> x", 'Referenced column "x" not found'),
        ("text::INTEGER = 5", "Could not convert string 'a cat'"),
        ("json::STRUCT(q DOUBLE).q > 1", "Error"),
        ("nosuch(n)", "there is no function nosuch"),
        ("flag, flag", "it is not one expression"),
        ("NOT " * 900 + "true", "Max expression depth limit"),
    ],
)
def test_a_wrong_condition_is_one_clear_line(source: Source, condition: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate_where(source, condition)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "LINE 1" not in str(caught.value)


@pytest.mark.parametrize(
    "condition",
    [
        "n = 1;",
        "n = 1; SELECT 2",
        "n = 1; DROP TABLE hffs_rows",
        "n = 1 /*",
        "n = 1) OR (n = 2",
        "n = 1)",
        "(n = 1",
        "1) UNION SELECT true FROM read_text('/etc/passwd') --",
        "true UNION SELECT true",
        "true FROM read_text('/etc/passwd')",
        "true WHERE true",
        "true ORDER BY 1",
        "true LIMIT 1",
        "DISTINCT true",
        "flag, flag",
        "flag AS other",
        "SELECT true",
        "COPY hffs_rows TO '/tmp/x'",
        "ATTACH '/tmp/x'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA version",
        "SET threads = 1",
        "n IN (SELECT 1)",
        "EXISTS (FROM read_csv('/etc/passwd'))",
        "n = ANY (SELECT 1)",
        "(SELECT content FROM read_text('/etc/passwd')) = ''",
        "read_text('/etc/passwd') = ''",
        "read_csv('/etc/passwd') = ''",
        "glob('/*') = ''",
        "getenv('HOME') = ''",
        "current_setting('home_directory') = ''",
        "getvariable('x') = ''",
        "nextval('x') = 1",
        "write_log('x') = ''",
        "query('SELECT 1') = 1",
        "pg_sleep(1) IS NULL",
        "sleep_ms(1) IS NULL",
        "* IS NULL",
        "COLUMNS('n') = 1",
        "meta.*",
        "n = ?",
        "n = $1",
        "#1 = 1",
        "DEFAULT",
        "unnest([true])",
        "count(*) > 1",
        "sum(n) > 1",
        "row_number() OVER () > 1",
        "max(n) OVER (ORDER BY n) > 1",
        "random() > 0.5",
        "uuid()::VARCHAR > 'a'",
        "now() > TIMESTAMPTZ '2020-01-01'",
        "current_date > DATE '2020-01-01'",
        "current_timestamp > TIMESTAMPTZ '2020-01-01'",
        "current_localtimestamp() > TIMESTAMP '2020-01-01'",
        "age(TIMESTAMP '2020-01-01') > INTERVAL 1 DAY",
        "ago(INTERVAL 1 DAY) > TIMESTAMPTZ '2020-01-01'",
        "current_user = 'duckdb'",
        "len(range(400000000 + n)) > 1",
        "len(repeat(text, 4000000000)) > 1",
        "n = 1\n; COPY hffs_rows TO '{made}'",
        "true; ATTACH '{made}' AS other",
        "true; INSTALL httpfs FROM '{made}'",
        "true; LOAD '{made}'",
        "true; SET enable_external_access = true",
        "true; CREATE MACRO lower(x) AS x",
        "true; CREATE TABLE other AS FROM hffs_rows",
        "true; EXPORT DATABASE '{made}'",
        "true; CALL pragma_version()",
        "true; PREPARE q AS SELECT 1",
        "EXECUTE q",
        "CHECKPOINT",
        "/* */ COPY (SELECT 1) TO '{made}' --",
        "n = 1 --\n; COPY (SELECT 1) TO '{made}'",
        "n = 1 /* -- */; COPY (SELECT 1) TO '{made}'",
        "n = (VALUES (1))",
        "n IN (FROM read_csv('https://example.com/x.csv'))",
        "EXISTS (FROM 'https://example.com/x.parquet')",
        "EXISTS (FROM '/etc/passwd')",
        "EXISTS (FROM duckdb_settings())",
        "EXISTS (FROM secret)",
        "EXISTS (WITH t AS MATERIALIZED (SELECT 1) FROM t)",
        "n = (SELECT n FROM query('SELECT 1 AS n'))",
        "query_table('hffs_rows') = 1",
        "read_blob('/etc/passwd') IS NULL",
        "read_parquet('https://example.com/x.parquet') IS NULL",
        "read_json('/etc/passwd') IS NULL",
        "read_ndjson_objects('/etc/passwd') IS NULL",
        "parquet_metadata('{made}') IS NULL",
        "sniff_csv('/etc/passwd') IS NULL",
        "file_exists('/etc/passwd')",
        "which_secret('x', 'y') IS NULL",
        "duckdb_secrets() IS NULL",
        "pragma_version() IS NULL",
        "current_setting('temp_directory') = ''",
        "set_config('threads', '1', false) = ''",
        "current_database() = ''",
        "current_query() = ''",
        "txid_current() > 0",
        "getenv('PATH') IS NOT NULL",
        "currval('x') = 1",
        "in_search_path('a', 'b')",
        "json_execute_serialized_sql('x') IS NULL",
        "json_serialize_plan('SELECT 1') IS NULL",
        "json_serialize_sql('SELECT 1') IS NULL",
        "json_deserialize_sql('{}') IS NULL",
        "error('x') IS NULL AND random() > 2",
        "setseed(0.5) IS NULL",
        "gen_random_uuid()::VARCHAR > 'a'",
        "transaction_timestamp() > TIMESTAMPTZ '2020-01-01'",
        "today() > DATE '2020-01-01'",
        "get_current_time() IS NULL",
        "version() = ''",
        "session_user() = ''",
        "finalize(text) = 1",
        "n = :name",
        "n = $name",
        "n = ?1",
        "n = $$1$$; SELECT 1",
        "list_sum(range(3000000000)) > 1",
        "len(repeat(repeat(text || 'x', 100000), 100000)) > 1",
        "len(rpad(text, 4000000000, 'x')) > 1",
        "len(list_resize([n], 2000000000)) > 1",
        "regexp_matches(text, '(x+x+)+{' || repeat('(', 100000) || '}')",
        "[" * 5000 + "]" * 5000 + " = n",
        "{'a': " * 5000 + "1" + "}" * 5000 + " = n",
        "CASE WHEN true THEN " * 3000 + "n" + " END" * 3000 + " > 1",
        "abs(" * 3000 + "n" + ")" * 3000 + " > 1",
        "n" + "::INT" * 5000 + " > 1",
        "n = 1" + " AND n = 1" * 300 + " AND random() > 0",
        "(" * 5000 + "true" + ")" * 5000,
        "NOT " * 5000 + "true",
        "1 + " * 5000 + "1 > 0",
    ],
)
def test_nothing_but_an_expression_over_one_row_is_allowed(
    source: Source, condition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.parent.iterdir())
    with pytest.raises(ConfigError, match=r"^cannot use where"):
        evaluate_where(source, condition.replace("{made}", str(tmp_path / "made")))
    assert sorted(tmp_path.parent.iterdir()) == before
    assert list(tmp_path.iterdir()) == []
    assert np.flatnonzero(evaluate_where(source, "lower(text) = 'a dog' OR n = 3")).tolist() == [
        1,
        3,
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "FROM read_text('/etc/hostname')",
        "FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/hffs-where-test'",
        "ATTACH '/tmp/hffs-where-test'",
        "INSTALL httpfs",
        "LOAD '/tmp/x.duckdb_extension'",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "SET max_expression_depth = 100000",
        "FROM secret",
    ],
)
def test_the_connection_itself_is_locked(statement: str) -> None:
    with duck.open_connection() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement).fetchall()


def test_expressions_may_be_as_deep_as_the_limit_lets_them(source: Source) -> None:
    for deep in ("abs(" * 190 + "n" + ")" * 190, "CASE WHEN true THEN " * 190 + "n" + " END" * 190):
        assert evaluate_where(source, f"{deep} >= 3").sum() == 2


def test_what_a_query_may_take_is_given_back(source: Source) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with duck.bounded_memory():
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    with suppress(ConfigError):
        evaluate_where(source, "len(repeat(text, 4000000000)) > 1")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.parametrize(
    "setting",
    [
        "autoinstall_known_extensions",
        "autoload_known_extensions",
        "enable_external_access",
        "python_enable_replacements",
    ],
)
def test_what_the_connection_may_not_do_is_switched_off(setting: str) -> None:
    with duck.open_connection() as connection:
        ((value,),) = connection.execute("SELECT current_setting($1)", [setting]).fetchall()
    assert value is False


def test_a_condition_and_a_value_of_any_length_leave_a_short_message(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"text": ["x" * 100_000]}), path)
    long = "text::INTEGER = 1" + " OR text = 'a'" * 1000
    with pytest.raises(ConfigError) as caught:
        evaluate_where(open_source(locate(str(path))), long)
    assert len(str(caught.value)) < 1000


def test_rows_keep_their_order_over_shards_and_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata.read_batches, "__defaults__", (1000,))
    for shard in range(2):
        numbers = pa.table({"n": range(shard * 5000, shard * 5000 + 5000)})
        pq.write_table(numbers, tmp_path / f"{shard}.parquet", row_group_size=700)
    kept = evaluate_where(open_source(locate(str(tmp_path))), "n % 7 = 3")
    assert np.flatnonzero(kept).tolist() == list(range(3, 10_000, 7))


def test_a_source_without_rows_keeps_none(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"n": pa.array([], pa.int64())}), path)
    source = open_source(locate(str(path)))
    assert len(evaluate_where(source, "n = 1")) == len(evaluate_where(source, "true")) == 0


hostile_text = st.text(st.sampled_from("n1()';-/*,=. \"[]{}>:\\$?#\n") | st.characters())


@settings(max_examples=50)
@given(condition=hostile_text)
def test_any_text_is_an_answer_or_a_config_error(source: Source, condition: str) -> None:
    with suppress(ConfigError):
        assert len(evaluate_where(source, condition)) == source.rows


@pytest.mark.parametrize("coded", [False, True])
def test_texts_that_are_not_utf8_are_compared_as_they_are_shown(
    tmp_path: Path, coded: bool
) -> None:
    texts = pa.array([b"a", b"\xff", b"b"] * 100, pa.binary()).view(pa.string())
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"text": texts, "n": range(300)}), path, use_dictionary=coded)
    source = open_source(locate(str(path)))
    assert np.flatnonzero(evaluate_where(source, "upper(text) = 'A' AND n < 6")).tolist() == [0, 3]
    assert evaluate_where(source, "text = '\ufffd'").sum() == 100


@pytest.mark.parametrize("condition", ["json->>'$.a' = '1'", "n = 1 AND json->>'$.a' = '1'"])
def test_broken_json_is_one_line_that_says_what_to_do(tmp_path: Path, condition: str) -> None:
    pq.write_table(pa.table({"n": [1, 1], "json": ['{"a": 1}', "{a"]}), tmp_path / "a.parquet")
    source = open_source(locate(str(tmp_path / "a.parquet")))
    with pytest.raises(ConfigError, match=r"Malformed JSON.*; write TRY\(json->>'key'\)"):
        evaluate_where(source, condition)
    assert evaluate_where(source, "TRY(json->>'$.a') = '1'").tolist() == [True, False]


def test_regression_a_condition_may_have_lines(source: Source) -> None:
    condition = "\n  n > 1  -- of those\n  AND n < 3\n"
    assert np.flatnonzero(evaluate_where(source, condition)).tolist() == [2]

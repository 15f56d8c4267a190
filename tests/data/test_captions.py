from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core.captions import clean_caption, find_description, render_caption
from hffs.data import metadata
from hffs.data.captions import (
    CaptionRules,
    Captions,
    _bytes_of,
    _clean_texts,
    _open_descriptions,
    _render_lists,
    keep_captions,
    read_captions,
)
from hffs.data.locating.local import locate
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError, DataError

EMOJI = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def make_source(folder: Path, **columns: Sequence[Any] | pa.Array) -> Source:
    path = folder / "0.parquet"
    pq.write_table(pa.table(columns), path)
    return open_source(locate(str(path)))


def all_rows(source: Source) -> NDArray[np.int64]:
    return np.arange(source.rows, dtype=np.int64)


def texts_of(captions: Captions) -> list[str | None]:
    """Each text, None where the row is to be dropped."""
    data, ends = captions.blob.tobytes(), captions.offsets.tolist()
    assert (ends[0], ends[-1]) == (0, len(data))
    texts = [data[a:b].decode() for a, b in pairwise(ends)]
    return [None if gone else text for text, gone in zip(texts, captions.missing, strict=True)]


def read(source: Source, *columns: str, **rules: Any) -> list[str | None]:
    return texts_of(read_captions(source, CaptionRules(columns, **rules), all_rows(source)))


def refusal(source: Source, *columns: str, **rules: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(source, *columns, **rules)
    return str(caught.value)


def test_texts_are_cleaned_and_blank_ones_dropped(tmp_path: Path) -> None:
    texts = [
        "a cat",
        " a\r\ndog\t",
        None,
        "",
        " \n",
        "\0",
        EMOJI,
        "写真\u2028réunion",
        "\u3000x\u00a0",
    ]
    expected = ["a cat", "a dog", None, None, None, None, EMOJI, "写真 réunion", "x"]
    assert read(make_source(tmp_path, caption=texts)) == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_layout_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    source = make_source(tmp_path, caption=pa.array(["a", None, "b\nc"], kind))
    assert read(source) == ["a", None, "b c"]


def test_dictionaries_of_text(tmp_path: Path) -> None:
    source = make_source(tmp_path, caption=pa.array(["a", None, "a"]).dictionary_encode())
    assert read(source) == ["a", None, "a"]


cells = st.none() | st.text() | st.text(st.sampled_from(" \n\t\0\x7f\x85\u2028\u3000aé"))


@given(st.lists(cells), st.integers(0, 3))
def test_a_column_is_cleaned_as_each_text_would_be(texts: list[str | None], skip: int) -> None:
    array = pa.array(texts, pa.large_string())[skip:]
    assert _clean_texts(array).to_pylist() == [clean_caption(t) or None for t in texts[skip:]]


def test_text_that_is_not_utf8_is_repaired(tmp_path: Path) -> None:
    broken = pa.array([b"a\xffb", None, b"\xc3\xa9", b"c\nd"], pa.binary())
    bad = pa.StringArray.from_buffers(4, *broken.buffers()[1:], broken.buffers()[0])
    nested = pa.ListArray.from_arrays(pa.array([0, 2, 2, 4], pa.int32()), bad)
    source = make_source(tmp_path, caption=bad)
    assert read(source) == ["a\ufffdb", None, "é", "c d"]
    assert read(make_source(tmp_path, caption=nested)) == ["a\ufffdb", None, "é\nc d"]
    prefixed = pa.array([b'{"k": "\xff"}'], pa.binary())
    bad_json = pa.StringArray.from_buffers(1, *prefixed.buffers()[1:])
    assert read(make_source(tmp_path, meta=bad_json), "meta.k") == ["\ufffd"]


def test_long_texts(tmp_path: Path) -> None:
    texts = ["x" * (1 << 20), "y\n" * (1 << 19), EMOJI * 1000]
    source = make_source(tmp_path, caption=texts)
    assert read(source) == [clean_caption(text) for text in texts]


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (("prompt", "text", "caption"), "caption"),
        (("prompt", "text"), "text"),
        (("other", "prompt"), "prompt"),
    ],
)
def test_default_columns(tmp_path: Path, names: tuple[str, ...], column: str) -> None:
    source = make_source(tmp_path, **{name: [name] for name in names})
    captions = read_captions(source, CaptionRules(), all_rows(source))
    assert (captions.column, texts_of(captions)) == (column, [column])


def test_a_binary_column_is_no_default(tmp_path: Path) -> None:
    source = make_source(tmp_path, caption=[b"\xff\xd8"], text=["words"])
    assert read(source) == ["words"]
    assert "caption: it holds binary data" in refusal(source, "caption")


def test_without_a_caption_column_there_are_no_captions(tmp_path: Path) -> None:
    source = make_source(tmp_path, other=["a", "b"])
    captions = read_captions(source, CaptionRules(), all_rows(source))
    assert captions.column is None
    assert texts_of(captions) == ["", ""]
    assert not captions.missing.any()


def test_without_a_caption_column_missing_caption_still_counts(tmp_path: Path) -> None:
    source = make_source(tmp_path, other=["a", "b"])
    captions = read_captions(source, CaptionRules(missing="text:é"), all_rows(source))
    assert (captions.column, texts_of(captions)) == (None, ["é", "é"])
    assert "none of the columns caption, text, prompt, txt" in refusal(source, missing="error")


def test_a_fallback_stands_in_where_captions_are_blank(tmp_path: Path) -> None:
    source = make_source(
        tmp_path,
        caption=["a", " ", None, None],
        alt=["x", "y\n", "z", ""],
        other=["p", "q", "r", "s"],
    )
    assert read(source, fallback="alt") == ["a", "y", "z", None]
    assert read(source, fallback="alt", missing="text:none") == ["a", "y", "z", "none"]
    assert read(source, "caption", "alt", fallback="other") == ["a\nx", "y", "z", "s"]


def test_a_fallback_alone(tmp_path: Path) -> None:
    source = make_source(tmp_path, alt=["x", None])
    captions = read_captions(source, CaptionRules(fallback="alt"), all_rows(source))
    assert (captions.column, texts_of(captions)) == ("alt", ["x", None])


def test_several_columns_give_a_line_each(tmp_path: Path) -> None:
    source = make_source(tmp_path, a=["1\n1", None, " ", ""], b=["2", "2", "", None])
    assert read(source, "a", "b") == ["1 1\n2", "2", None, None]
    assert read(source, "b", "a") == ["2\n1 1", "2", None, None]
    captions = read_captions(source, CaptionRules(("a", "b")), all_rows(source))
    assert captions.column == "a, b"


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([["a\nb", None, " ", "c"], [], None, ["d"]]), ["a b\nc", None, None, "d"]),
        (pa.array([["a", "b"], ["c", None]], pa.list_(pa.string(), 2)), ["a\nb", "c"]),
        (pa.array([[1, 2], None]), ["1\n2", None]),
        (pa.array([1, None, 0], pa.int8()), ["1", None, "0"]),
        (pa.array([1.5, None]), ["1.5", None]),
        (pa.array([True, None]), ["True", None]),
        (pa.nulls(2), [None, None]),
        (pa.array([], pa.string()), []),
    ],
)
def test_kinds_of_cells(tmp_path: Path, column: pa.Array, expected: list[str | None]) -> None:
    assert read(make_source(tmp_path, caption=column)) == expected


def test_paths_lead_into_structs_and_json(tmp_path: Path) -> None:
    meta: list[Any] = [
        {"text": "a\nb", "tags": ["x", "y"], "json": json.dumps({"k": {"l": "deep"}, "n": 4})},
        {"text": None, "tags": None, "json": '{"k": ["p", "q"]}'},
        {"text": "", "tags": [], "json": "not json"},
        None,
    ]
    source = make_source(tmp_path, meta=meta, raw=['{"t": "é"}', "{}", "", None])
    assert read(source, "meta.text") == ["a b", None, None, None]
    assert read(source, "meta.tags") == ["x\ny", None, None, None]
    assert read(source, "meta.json.k.l") == ["deep", None, None, None]
    assert read(source, "meta.json.k") == [None, "p\nq", None, None]
    assert read(source, "meta.json.n") == ["4", None, None, None]
    assert read(source, "raw.t", "meta.text") == ["é\na b", None, None, None]


def test_a_column_whose_own_name_has_a_dot_wins(tmp_path: Path) -> None:
    source = make_source(tmp_path, **{"meta": [{"text": "inner"}], "meta.text": ["own"]})
    assert read(source, "meta.text") == ["own"]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_class_labels_are_named(tmp_path: Path, form: str) -> None:
    label = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(
        text=label, many=datasets.List(label), meta={"kind": label}, plain=datasets.Value("int64")
    )
    rows = {
        "text": [0, 1, -1, None],
        "many": [[0, 1], [], [1], None],
        "meta": [{"kind": 1}, {"kind": None}, {"kind": 0}, {"kind": -1}],
        "plain": [0, 1, 2, 3],
    }
    data = datasets.Dataset.from_dict(rows, features=features)
    if form == "parquet":
        data.to_parquet(tmp_path / "0.parquet")
    else:
        data.save_to_disk(tmp_path)
    source = open_source(locate(str(tmp_path)))
    assert read(source) == ["cat", "dog", None, None]
    assert read(source, "many") == ["cat\ndog", None, "dog", None]
    assert read(source, "meta.kind") == ["dog", None, "cat", None]
    assert read(source, "plain") == ["0", "1", "2", "3"]


def test_only_the_wanted_rows_are_given_and_may_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata.read_batches, "__defaults__", (4,))
    source = make_source(tmp_path, caption=[None if n == 6 else f"{n}\n" for n in range(20)])
    for wanted in ([0, 0, 3, 4, 6, 6, 12, 19], [5], list(range(20)), [0, 0, 2, 3], [], [19, 19]):
        captions = read_captions(source, CaptionRules(), np.array(wanted, np.int64))
        assert texts_of(captions) == [None if n == 6 else str(n) for n in wanted]


def test_a_missing_caption_is_an_error_if_asked_for(tmp_path: Path) -> None:
    source = make_source(tmp_path, caption=["a", "b", " ", None])
    rules = CaptionRules(missing="error")
    with pytest.raises(DataError, match=r"row 2 of .*: caption is null or blank; set missing_"):
        read_captions(source, rules, np.array([0, 2, 3], np.int64))
    assert texts_of(read_captions(source, rules, np.array([0, 1], np.int64))) == ["a", "b"]


def test_bytes_of_a_slice_are_its_own() -> None:
    texts = pa.array(["no", "é", "", "b", "no"], pa.large_string())[1:4]
    assert bytes(_bytes_of(texts)) == "éb".encode()


def test_a_filler_is_cleaned_and_drops_nothing(tmp_path: Path) -> None:
    source = make_source(tmp_path, caption=["a", None])
    assert read(source, missing="text: a\nphoto ") == ["a", "a photo"]


@pytest.mark.parametrize("missing", ["", "keep", "text", "text:", "text: \n", "Drop"])
def test_an_unknown_missing_caption_is_refused(missing: str) -> None:
    with pytest.raises(ConfigError, match="cannot use missing_caption"):
        CaptionRules(missing=missing)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("captoin", "did you mean caption? columns: caption, meta, n, lists, when, structs"),
        ("meta", "cannot use caption_column meta: it leads to struct"),
        ("meta.txt", "there is no such field; did you mean meta.text? fields: meta.text"),
        ("meta.", "there is no such field"),
        ("n.x", "cannot use caption_column n.x: it leads to int64"),
        ("structs.text", "cannot use caption_column structs.text: it leads to large_list"),
        ("structs", "cannot use caption_column structs: it leads to struct"),
        ("lists", "cannot use caption_column lists: it leads to large_list"),
        ("when", "cannot use caption_column when: it leads to timestamp"),
        ("image", "cannot use caption_column image: it holds binary data"),
        ("", "there is no such column"),
    ],
)
def test_a_column_that_cannot_be_a_caption(tmp_path: Path, path: str, message: str) -> None:
    source = make_source(
        tmp_path,
        image=[b"x"],
        caption=["a"],
        meta=[{"text": "a"}],
        n=[1],
        lists=[[["a"]]],
        when=pa.array([0], pa.timestamp("us")),
        structs=[[{"text": "a"}]],
    )
    assert message in refusal(source, path)
    fallback = refusal(source, fallback=path)
    assert fallback.startswith("cannot use fallback_caption_column")


lists = st.none() | st.lists(cells, max_size=4)
joints = st.none() | st.sampled_from(["\n", ", ", "", " "])


@given(st.lists(lists), st.integers(0, 3), joints)
def test_a_column_of_lists_is_rendered_as_each_cell_would_be(
    rows: list[list[str | None] | None], skip: int, joint: str | None
) -> None:
    array = pa.array(rows, pa.large_list(pa.large_string()))[skip:]
    expected = [render_caption(row, joint) or None for row in rows[skip:]]
    assert _render_lists(array, joint).to_pylist() == expected


objects = st.dictionaries(st.sampled_from(["main_subject", "text", "x"]), cells | st.lists(cells))


@given(st.lists(cells | objects.map(json.dumps) | st.just(" {}") | st.just('{"text": ')))
def test_a_column_of_descriptions_is_opened_as_each_would_be(texts: list[str | None]) -> None:
    array = pa.array(texts, pa.large_string())
    assert _open_descriptions(array).to_pylist() == [find_description(text) for text in texts]


@given(st.lists(st.tuples(lists, cells, lists), min_size=1), st.sampled_from([", ", "", "|", " "]))
def test_what_is_joined_is_one_line_and_has_every_caption(
    rows: list[tuple[list[str | None] | None, str | None, list[str | None] | None]], joint: str
) -> None:
    kinds = (pa.list_(pa.string()), pa.string(), pa.list_(pa.string()))
    columns = zip(kinds, zip(*rows, strict=True), strict=True)
    table = pa.table([pa.array(column, kind) for kind, column in columns], list("abc"))
    with TemporaryDirectory() as folder:
        source = make_source(Path(folder), **dict(zip("abc", table.columns, strict=True)))
        joined = read(source, "a", "b", "c", multi="join", separator=joint)
        first = read(source, "a", "b", "c", multi="first")
        lines = read(source, "a", "b", "c")
    for (a, b, c), text, one, many in zip(rows, joined, first, lines, strict=True):
        captions = [clean for cell in (*(a or ()), b, *(c or ())) if (clean := clean_caption(cell))]
        assert text == (joint.join(captions) or None)
        assert text is None or len(text.splitlines()) == 1
        assert one == (captions[0] if captions else None)
        assert many == ("\n".join(captions) or None)


def test_every_kind_of_cell_is_joined_and_has_a_first(tmp_path: Path) -> None:
    source = make_source(tmp_path, n=[[1, 2]], json=['{"k": ["", "p", "q\\n"]}'], t=["\n x"])
    assert read(source, "n", "json.k", "t", multi="join") == ["1, 2, p, q, x"]
    assert read(source, "json.k", "n", multi="first") == ["p"]


def test_a_fallback_is_joined_too_and_descriptions_come_last(tmp_path: Path) -> None:
    about = [{"main_subject": "cat", "text": f"t{n}"} for n in range(4)]
    source = make_source(
        tmp_path, caption=["a", " ", None, None], alt=[["x"], ["y", "z"], [""], None], about=about
    )
    rules = {"fallback": "alt", "description": "about"}
    assert read(source, **rules) == ["a", "y\nz", "cat t2", "cat t3"]
    assert read(source, **rules, multi="join") == ["a", "y, z", "cat t2", "cat t3"]
    assert read(source, **rules, multi="first") == ["a", "y", "cat t2", "cat t3"]
    assert read(source, description="about") == ["a", "cat t1", "cat t2", "cat t3"]


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"text": "c", "description": "b", "main_subject": "a"}, "a b c"),
        ({"main_subject": "a\n", "description": " ", "text": None}, "a"),
        ({"main_subject": None, "other": "x"}, None),
        ({"description": ["b", "", "c"], "text": "d"}, "b c d"),
        ({"main_subject": 3}, "3"),
        ("plain\ntext", "plain text"),
        ('{"text": "c", "main_subject": "a"}', "a c"),
        (' \n{"text": ["c", "d"]}', "c d"),
        ('{"text": null}', None),
        ('{"other": "x"}', '{"other": "x"}'),
        ('{"text": ', '{"text":'),
        ('["a"]', '["a"]'),
        (["a", "b"], "a\nb"),
    ],
)
def test_descriptions(tmp_path: Path, about: Any, text: str | None) -> None:
    assert read(make_source(tmp_path, about=[about]), description="about") == [text]
    nested = make_source(tmp_path, meta=[{"about": about}])
    assert read(nested, description="meta.about") == [text]
    if not isinstance(about, str):
        inside = make_source(tmp_path, meta=[json.dumps({"about": about})])
        assert read(inside, description="meta.about") == [text]


def test_a_description_that_is_not_utf8_is_repaired(tmp_path: Path) -> None:
    raw = pa.array([b'{"text": "a\xff"}', b"b\xff"], pa.binary())
    bad = pa.StringArray.from_buffers(2, *raw.buffers()[1:])
    assert read(make_source(tmp_path, about=bad), description="about") == ["a\ufffd", "b\ufffd"]


def test_a_struct_is_described_by_its_fields_not_by_columns_of_their_name(tmp_path: Path) -> None:
    source = make_source(tmp_path, **{"about": [{"text": "field"}], "about.text": ["column"]})
    assert read(source, description="about") == ["field"]
    assert read(source, description="about.text") == ["column"]


def test_a_description_alone_is_where_captions_come_from(tmp_path: Path) -> None:
    source = make_source(tmp_path, about=[{"text": "a", "main_subject": "b"}])
    captions = read_captions(source, CaptionRules(description="about"), all_rows(source))
    assert captions.column == "about.main_subject, about.text"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("abuot", "there is no such column; did you mean about?"),
        ("about", "it is a struct without main_subject, description, text"),
        ("nested", "cannot use description_column nested.text: it leads to struct"),
        ("when", "cannot use description_column when: it leads to timestamp"),
        ("image", "cannot use description_column image: it holds binary data"),
    ],
)
def test_a_column_that_cannot_be_a_description(tmp_path: Path, path: str, message: str) -> None:
    source = make_source(
        tmp_path,
        image=[b"x"],
        caption=["a"],
        about=[{"title": "a"}],
        nested=[{"text": {"en": "a"}}],
        when=pa.array([0], pa.timestamp("us")),
    )
    assert message in refusal(source, description=path)


@given(st.lists(st.tuples(st.text(max_size=4), st.booleans())))
def test_kept_captions_are_those_that_were_chosen(rows: list[tuple[str, bool]]) -> None:
    data = [text.encode() for text, _ in rows]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int64)
    blob = np.frombuffer(b"".join(data), np.uint8)
    missing = np.array([not text for text, _ in rows], np.bool_)
    keep = np.array([kept for _, kept in rows], np.bool_)
    kept = keep_captions(Captions(offsets, blob, missing, "caption"), keep)
    assert texts_of(kept) == [text or None for text, is_kept in rows if is_kept]
    assert kept.column == "caption"

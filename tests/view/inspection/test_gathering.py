"""The facts of a view, against data sets whose facts are known, and against the view itself."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter

from hffs.config import build_config
from hffs.errors import ConfigError
from hffs.view.codecs import measure
from hffs.view.inspection.facts import Inspection, Report, StepFacts
from hffs.view.inspection.gathering import Wanted, inspect_view
from tests.view.conftest import WORKERS, OpenTree, Quiet, encode, write_set

Look = Callable[..., Inspection]


@pytest.fixture
def look(tmp_path: Path, watcher: Quiet) -> Look:
    """Inspect a source with some keys."""

    def look_at(source: Path, wanted: Wanted | None = None, **keys: object) -> Inspection:
        environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        flags = {name.replace("__", "."): value for name, value in keys.items()}
        config = build_config(str(source), flags, None, environ)
        return inspect_view(config, watcher, WORKERS, wanted or Wanted())

    return look_at


def _mixed(path: Path) -> Path:
    """Six rows: JPEG and PNG, one null, one that is no image, one blank caption."""
    images = [
        encode("JPEG", 0, (100, 50)), encode("PNG", 1, (50, 100)), None,
        encode("JPEG", 2, (64, 64)), b"not an image at all", encode("PNG", 3, (200, 100)),
    ]  # fmt: skip
    captions = ["a", "two words", "gone", " ", "what", "été\nsecond"]
    kinds = ["x", "y", "x", None, "y", "x"]
    return write_set(path, images, caption=captions, kind=kinds, score=[0.1, 0.9, 1, 1, None, 1])


def _step(report: Report, name: str) -> StepFacts:
    return next(step for step in report.removed if step.step == name)


def test_what_is_counted_of_a_mixed_set(look: Look, tmp_path: Path) -> None:
    report = look(_mixed(tmp_path / "set.parquet")).report
    assert (report.rows, report.images, report.shown) == (6, 5, 4)
    assert (report.image_files, report.caption_files) == (4, 4)
    assert report.dropped == {"null image": 1}
    assert [(f.format, f.images, f.passes, f.rendered, f.fails) for f in report.formats] == [
        ("UNKNOWN", 1, 0, 0, 1), ("JPEG", 2, 1, 0, 0), ("PNG", 2, 0, 2, 0),
    ]  # fmt: skip
    assert (report.passes, report.rendered, report.fails) == (1, 2, 1)
    step = _step(report, "no caption")
    assert (step.count, step.asked) == (1, False)
    assert [(e.row, e.item, e.values) for e in step.examples] == [(3, 0, {"caption": " "})]
    assert [column.name for column in report.columns] == ["image", "caption", "kind", "score"]
    assert report.image_column_kind == "struct"
    assert report.composite is None
    assert report.groups is None


def test_sizes_are_measured_where_no_column_tells_them(look: Look, tmp_path: Path) -> None:
    sizes = look(_mixed(tmp_path / "set.parquet")).report.sizes
    assert (sizes.looked_at, sizes.known, sizes.sampled, sizes.origin) == (4, 3, False, "headers")
    assert sizes.width is not None
    assert (sizes.width.min, sizes.width.median, sizes.width.max) == (50, 100, 200)
    assert sizes.aspect is not None
    assert (sizes.aspect.min, sizes.aspect.max) == (0.5, 2)
    assert sizes.largest is not None
    assert (sizes.largest.width, sizes.largest.height, sizes.largest.count) == (200, 100, 1)


def test_captions_are_counted_in_characters(look: Look, tmp_path: Path) -> None:
    captions = look(_mixed(tmp_path / "set.parquet")).report.captions
    assert captions is not None
    assert (captions.column, captions.count, captions.blank) == ("caption", 4, 0)
    assert captions.length is not None
    assert (captions.length.min, captions.length.max) == (1, len("été second"))
    assert [(s.file, s.row, s.text) for s in captions.samples] == [
        ("0.txt", 0, "a"), ("1.txt", 1, "two words"), ("2.txt", 4, "what"),
        ("3.txt", 5, "été second"),
    ]  # fmt: skip


def test_each_step_says_why_and_on_what(look: Look, tmp_path: Path) -> None:
    keys = {
        "filter_func__collection": ["x", "y"], "filter_func__collection_column": "kind",
        "filter_func__quality_thresholds": {"score": 0.5},
        "filter_func__where": "length(caption) > 3", "filter_func__min_width": 100,
    }  # fmt: skip
    report = look(_mixed(tmp_path / "set.parquet"), **keys).report
    facts = [
        (s.step, s.count, s.why, [(e.row, e.values) for e in s.examples]) for s in report.removed
    ]
    assert facts == [
        ("collection", 1, "kind is not x or y", [(3, {"kind": "null"})]),
        ("score is missing", 1, "the row has no such number", [(4, {"score": "null"})]),
        ("quality_thresholds score", 1, "score below 0.5", [(0, {"score": "0.1"})]),
        ("where", 0, "not true, or null: length(caption) > 3", []),
        ("size could not be measured", 0, "its header cannot be read", []),
        ("min_width", 1, "narrower than 100 px", [(1, {"size": "50 x 100"})]),
    ]
    assert report.shown == 1


OTHER_STEPS: list[tuple[dict[str, object], str, str, dict[str, str]]] = [
    ({"group_by": "kind"}, "no value to group by", "kind is null", {"kind": "null"}),
    (
        {"filter_func__max_aspect": 1.5},
        "max_aspect",
        "width / height above 1.5",
        {"size": "100 x 50"},
    ),
    ({"max_num_samples": 1}, "max_num_samples", "not among the 1 rows drawn with seed 0", {}),
    (
        {"filter_func__max_height": 20},
        "size could not be measured",
        "its header cannot be read",
        {"size": "not known"},
    ),
]


@pytest.mark.parametrize(("keys", "step", "why", "values"), OTHER_STEPS)
def test_other_steps(  # noqa: PLR0913 - a case and two fixtures
    look: Look,
    tmp_path: Path,
    keys: dict[str, object],
    step: str,
    why: str,
    values: dict[str, str],
) -> None:
    found = _step(look(_mixed(tmp_path / "set.parquet"), **keys).report, step)
    assert found.why == why
    assert found.count > 0
    assert found.examples[0].values == values


def test_a_metric_inside_structs_and_json_is_shown(look: Look, tmp_path: Path) -> None:
    images = [encode("JPEG", seed) for seed in range(2)]
    text = [json.dumps({"clip": 0.1}), json.dumps({"clip": 0.9})]
    source = write_set(tmp_path / "set.parquet", images, quality_assessment=text)
    report = look(source, filter_func__quality_thresholds={"clip": 0.5}).report
    step = _step(report, "quality_thresholds clip")
    assert [e.values for e in step.examples] == [{"quality_assessment.clip": "0.1"}]


def test_nothing_left_is_a_report_too(look: Look, tmp_path: Path) -> None:
    report = look(
        _mixed(tmp_path / "set.parquet"), Wanted(pictures=5), filter_func__where="false",
        names="row", group_by="kind", metadata_jsonl=True, orientation="upright",
    )  # fmt: skip
    assert report.report.shown == 0
    assert report.report.sizes.width is None
    assert report.report.groups == ()
    assert report.sheet is not None
    assert report.sheet.shown == ()
    assert len(report.sheet.removed[0]) == 5


def test_a_source_without_rows_is_a_report_too(look: Look, tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array([], kind), "caption": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "set.parquet")
    report = look(tmp_path / "set.parquet", Wanted(pictures=5), names="row").report
    assert (report.rows, report.images, report.shown, report.formats) == (0, 0, 0, ())


def test_a_sample_is_measured_unless_all_is_asked_for(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hffs.view.inspection.gathering.SAMPLE_IMAGES", 3)
    images = [encode("JPEG", 0, (10 + number, 10)) for number in range(9)]
    source = write_set(tmp_path / "set.parquet", images)
    sizes = look(source).report.sizes
    assert (sizes.looked_at, sizes.known, sizes.sampled) == (3, 3, True)
    sizes = look(source, Wanted(all_sizes=True)).report.sizes
    assert (sizes.looked_at, sizes.sampled) == (9, False)
    # A filter that measures leaves nothing to guess.
    sizes = look(source, filter_func__min_width=12).report.sizes
    assert (sizes.looked_at, sizes.sampled, sizes.origin) == (7, False, "headers")


def test_columns_of_sizes_need_no_sample(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hffs.view.inspection.gathering.SAMPLE_IMAGES", 1)
    images = [b"\xff\xd8\xff no header"] * 3
    sizes = [700, 800, None]
    source = write_set(tmp_path / "set.parquet", images, width=sizes, height=[100, 100, 100])
    facts = look(source).report.sizes
    assert (facts.looked_at, facts.known, facts.sampled, facts.origin) == (3, 2, False, "columns")


def test_tiles_and_turned_images_mean_the_files(look: Look, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (100, 40)).save(file, "JPEG", exif=exif)
    source = write_set(tmp_path / "set.parquet", [file.getvalue()], caption=["turned"])
    block = {"enabled": True, "image_count": 4, "select_index": "all", "layout": "2x2"}
    keys = {f"composite_image_config__{name}": value for name, value in block.items()}
    found = look(source, Wanted(pictures=9), orientation="upright", **keys)
    report = found.report
    assert report.composite is not None
    assert report.composite.tiles == (0, 1, 2, 3)
    assert (report.shown, report.image_files, report.rendered) == (1, 4, 4)
    assert report.sizes.largest is not None
    assert (report.sizes.largest.width, report.sizes.largest.height) == (20, 50)
    assert found.sheet is not None
    pictures = found.sheet.shown
    assert [(p.name, p.width, p.height, p.text) for p in pictures] == [
        (f"{number}.jpg", 20, 50, "turned") for number in range(4)
    ]


def test_pictures_are_those_of_the_view(look: Look, open_tree: OpenTree, tmp_path: Path) -> None:
    source = _mixed(tmp_path / "set.parquet")
    sheet = look(source, Wanted(pictures=10), group_by="kind").sheet
    assert sheet is not None
    assert [(p.name, p.row) for p in sheet.shown] == [
        ("x/0.jpg", 0), ("y/1.jpg", 1), ("y/2.jpg", 4), ("x/3.jpg", 5),
    ]  # fmt: skip
    tree = open_tree(source, group_by="kind")
    assert tree.manifest.positions == len(sheet.shown)
    broken = sheet.shown[2]
    assert (broken.jpeg, broken.text) == ("", "what")
    assert broken.problem.startswith("not one of JPEG")
    for picture in (sheet.shown[0], *sheet.removed[0]):
        assert max(measure(base64.b64decode(picture.jpeg))[:2]) <= 192
    assert [(p.name, p.text) for p in sheet.removed[0]] == [("row 3", "kind: null")]


def test_pictures_are_spread_and_bounded(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [encode("JPEG", number, (8, 8)) for number in range(60)]
    source = write_set(tmp_path / "set.parquet", images, n=list(range(60)))
    found = look(source, Wanted(pictures=4), filter_func__where="n % 2 = 0", max_num_samples=20)
    assert found.sheet is not None
    rows = [picture.row for picture in found.sheet.shown]
    assert len(rows) == 4
    assert np.diff(rows).min() > 5
    assert [len(pictures) for pictures in found.sheet.removed] == [12, 10]
    monkeypatch.setattr("hffs.view.inspection.contact_sheet.MOST_REMOVED", 6)
    found = look(source, Wanted(pictures=0), filter_func__where="n % 2 = 0", max_num_samples=20)
    assert found.sheet is not None
    assert [len(pictures) for pictures in found.sheet.removed] == [3, 3]


def test_lists_of_images_say_which_one(look: Look, tmp_path: Path) -> None:
    cells = [[{"bytes": encode("JPEG", n, (10 * n + 10, 10)), "path": None} for n in range(3)]] * 2
    pq.write_table(pa.table({"image": cells}), tmp_path / "set.parquet")
    found = look(tmp_path / "set.parquet", Wanted(pictures=0), filter_func__min_width=25)
    step = _step(found.report, "min_width")
    assert [(e.row, e.item, e.values["size"]) for e in step.examples] == [
        (0, 0, "10 x 10"), (0, 1, "20 x 10"), (1, 0, "10 x 10"), (1, 1, "20 x 10"),
    ]  # fmt: skip
    assert found.report.image_column_kind == "list of struct"
    assert found.sheet is not None
    assert [p.name for p in found.sheet.removed[-1]][:2] == ["row 0, image 0", "row 0, image 1"]
    assert [p.width for p in found.sheet.removed[-1]] == [10, 20, 10, 20]


def test_images_only_have_no_caption_facts(look: Look, tmp_path: Path) -> None:
    source = _mixed(tmp_path / "set.parquet")
    report = look(source, images_only=True).report
    assert (report.captions, report.caption_files, report.shown) == (None, 0, 5)
    report = look(source, images_only=True, metadata_jsonl=True).report
    assert report.caption_files == 0
    assert report.captions is not None
    assert report.captions.samples[0].file == "0.jpg"


def test_without_a_caption_column_there_are_no_samples(look: Look, tmp_path: Path) -> None:
    captions = look(write_set(tmp_path / "set.parquet", [encode("JPEG")])).report.captions
    assert captions is not None
    assert (captions.column, captions.count, captions.blank, captions.samples) == (None, 1, 1, ())


def test_values_of_any_kind_become_short_text(look: Look, tmp_path: Path) -> None:
    columns = {
        "texts": pa.array(["x" * 500]),
        "lists": pa.array([[1, 2]]),
        "times": pa.array([2**60], pa.timestamp("ms")),
        "broken": pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()),
    }
    cells = [{"bytes": encode("JPEG"), "path": None}]
    pq.write_table(pa.table({"image": cells, **columns}), tmp_path / "set.parquet")
    where = "false and texts = '' and lists is null and times is null"
    report = look(tmp_path / "set.parquet", filter_func__where=where).report
    values = _step(report, "where").examples[0].values
    assert values["texts"] == "x" * 119 + "…"
    assert values["lists"] == "[1, 2]"
    assert values["times"] == "unreadable"
    keys = {"filter_func__collection": ["a"], "filter_func__collection_column": "broken"}
    report = look(tmp_path / "set.parquet", **keys).report
    assert _step(report, "collection").examples[0].values == {"broken": "\ufffd\ufffd"}


def test_a_wrong_configuration_is_refused_as_for_a_mount(look: Look, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean caption"):
        look(_mixed(tmp_path / "set.parquet"), caption_column="captoin")


def test_an_inspection_survives_json(look: Look, tmp_path: Path) -> None:
    found = look(_mixed(tmp_path / "set.parquet"), Wanted(pictures=9), filter_func__min_width=99)
    text = json.dumps(asdict(found))
    assert TypeAdapter(Inspection).validate_json(text) == found


def test_a_function_and_its_rows_are_named(look: Look, tmp_path: Path) -> None:
    # Of a row's values it makes False: a dict of them is not empty.
    report = look(_mixed(tmp_path / "set.parquet"), filter_func__python="operator:not_").report
    step = _step(report, "python")
    assert (step.why, step.count) == ("operator:not_ returned False", 5)
    assert step.examples[1].values == {"caption": "two words", "kind": "y", "score": "0.9"}


def test_a_metric_in_a_column_of_its_own_is_shown(look: Look, tmp_path: Path) -> None:
    images = [encode("JPEG", seed) for seed in range(2)]
    quality = [{"clip": 1.0}] * 2
    path = tmp_path / "set.parquet"
    source = write_set(path, images, quality_assessment=quality, score=[0.2, 0.8])
    report = look(source, filter_func__quality_thresholds={"score": 0.5}).report
    assert _step(report, "quality_thresholds score").examples[0].values == {"score": "0.2"}

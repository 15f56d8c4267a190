"""The page of `hffs bucket --report`, as text and as Chromium shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hffs.cli.bucketing.drawings import draw_buckets, draw_scatter, draw_shade
from hffs.cli.bucketing.page import render_page
from hffs.core.batches import BatchSpec
from hffs.train.report.facts import PlanReport
from hffs.train.report.gathering import Wanted, report_plan
from tests.browser import photograph, visit
from tests.train.plans import Quiet, make_epoch, make_facts, make_plan, make_scan

HOSTILE = [
    "<script>window.ran = 'script'</script>.png",
    '" onmouseover="window.ran = 1" autofocus onfocus="window.ran = 2" x=".png',
    "</title></svg></style><style>body { display: none }<.png",
    "<img src=http:leak.test onerror='window.ran = 3'>.png",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt; <!-- ]]>.png",
    "\u202eturned around\u202c.png",
    "היא אמרה.png",
]


def _report(folder: Path, names: list[str], *, smallest_px: int = 0) -> PlanReport:
    """A report with pictures of images that are green where they are kept, and red elsewhere."""
    sizes = [(1000 + 90 * n, 500) if n % 2 else (400, 900 + 70 * n) for n in range(len(names))]
    scan = make_scan(folder, names, sizes, problems={each: each for each in names})
    plan = make_plan(scan, smallest_px=smallest_px)
    assignment = plan.assignment
    for sample, image in enumerate(assignment.image.tolist()):
        width, height = assignment.sizes[assignment.bucket[sample]].tolist()
        left, top = assignment.crop[sample].tolist()
        whole = Image.new("RGB", tuple(assignment.resized[sample].tolist()), (255, 0, 0))
        whole.paste((0, 255, 0), (left, top, left + width, top + height))
        resized = whole.resize(sizes[image])
        resized.save(folder / names[image])
        text = folder / f"{names[image].removesuffix('.png')}.txt"
        text.write_text(f"{names[image]}, a tag, {names[image]}")
    batches = BatchSpec(batch_size=2)
    wanted = Wanted(pictures=True, captions=True)
    return report_plan(plan, make_epoch(plan, batches), batches, wanted, Quiet())


def _write(folder: Path, *reports: PlanReport) -> Path:
    path = folder / "page.html"
    path.write_text(render_page(reports))
    return path


def test_a_page_without_pictures_and_captions_is_a_page() -> None:
    page = render_page([PlanReport(make_facts(), None)])
    assert "<title>photos - hffs bucket</title>" in page
    assert "Where most is cut away" not in page
    assert "<h2>Captions</h2>" not in page
    assert "<h2>Settings</h2>" in page


@pytest.mark.parametrize("count", [0, 3])
def test_a_page_of_nothing_is_a_page(count: int) -> None:
    page = render_page([PlanReport(make_facts(count, smallest_px=9000), None)])
    assert "No image is left to train on." in page
    assert ("Sizes of images" in page) == (count > 0)


def test_several_entries_are_a_section_each() -> None:
    first = PlanReport(make_facts(), None)
    second = PlanReport(replace(make_facts(), id="second"), None)
    page = render_page([first, second])
    assert page.count('<section class="report">') == 2
    assert "entry second" in page


def test_the_policy_allows_pictures_and_one_style_only() -> None:
    page = render_page([PlanReport(make_facts(), None)])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"].startswith("'sha256-")
    assert "style=" not in page


def test_a_row_for_each_bucket_of_up_to_many() -> None:
    buckets = tuple((256 + 2 * n, 900 - 2 * n) for n in range(320))
    facts = make_facts(5000, buckets=buckets)
    page = render_page([PlanReport(facts, None)])
    assert facts.totals.buckets > 200
    rows = re.findall(r"<tr>\s*<th>\d+ \S \d+</th>", page)
    assert len(rows) == 200
    assert f"{facts.totals.buckets - 200} smaller buckets are not in the table" in page
    assert f"the 40 fullest of {facts.totals.buckets}" in page


def test_bars_go_from_narrow_to_wide_and_are_as_long_as_counts() -> None:
    bars = draw_buckets(make_facts(500))
    shapes = [bar.bucket.width / bar.bucket.height for bar in bars]
    assert shapes == sorted(shapes)
    most = max(bars, key=lambda bar: bar.bucket.images)
    for bar in bars:
        share = bar.bucket.images / most.bucket.images
        assert bar.length / most.length == pytest.approx(share, abs=0.01)
        assert bar.glyph_width / bar.glyph_height == pytest.approx(
            bar.bucket.width / bar.bucket.height, rel=0.05
        )
    assert len({bar.colour for bar in bars}) == len(bars)


def test_the_scatter_has_each_image_once_and_to_one_scale() -> None:
    facts = make_facts(500, smallest_px=300)
    drawn = draw_scatter(facts)
    assert drawn
    dots = sum(each.path.count("h0") for each in drawn.dots)
    crosses = drawn.left_out.count("l4 4")
    assert (dots, dots + crosses) == (facts.totals.images, 500)
    assert crosses > 0
    first, second = drawn.ticks[:2]
    assert second.x > first.x
    assert second.y < first.y
    square = next(mark for mark in drawn.marks if mark.bucket.width == mark.bucket.height)
    at = {tick.label: tick for tick in drawn.ticks}["512"]
    assert (square.x, square.y) == (at.x, at.y)


def test_an_image_without_a_size_is_no_dot() -> None:
    facts = make_facts(1)
    nowhere = replace(facts, scatter=replace(facts.scatter, width=(0,), height=(0,)))
    assert draw_scatter(nowhere) is None


def test_the_shade_leaves_the_box_out() -> None:
    crop = make_facts().worst_crops[0]
    box = replace(
        crop, resized_width=90, resized_height=50, left=20, top=0, crop_width=50, crop_height=50
    )
    assert draw_shade(box) == "M0 0H90V50H0ZM20 0h50v50h-50Z"


def test_every_text_is_escaped(tmp_path: Path) -> None:
    evil = "<b>\"'&"
    report = _report(tmp_path, [f"{evil}.png"])
    facts = replace(report.facts, id=evil, scan=replace(report.facts.scan, folder=f"/a/{evil}"))
    assert report.sheet
    broken = replace(report.sheet.worst[0], jpeg="", problem=evil)
    sheet = replace(report.sheet, worst=(broken,))
    one = PlanReport(facts, sheet)
    page = render_page([one, one])
    assert evil not in page
    assert page.count("&lt;b&gt;&#34;&#39;&amp;") >= 20


@pytest.mark.chromium
def test_what_chromium_shows_of_a_hostile_folder(tmp_path: Path) -> None:
    names = [name.replace("/", "") for name in HOSTILE]
    report = _report(tmp_path, names)
    found = visit(_write(tmp_path, report), tmp_path)
    seen = found.seen
    assert found.console == []
    assert found.requests == ["http://page.test/", "http://page.test/page.html"]
    assert (seen["ran"], seen["scripted"]) == (None, 0)
    assert not set(seen["tags"]) & {"script", "iframe", "base", "link", "object", "form", "img"}
    hidden = str.maketrans(dict.fromkeys("\u202e\u202c", "\ufffd"))
    assert set(seen["names"]) == {name.translate(hidden) for name in names}
    assert seen["problems"] == []
    headings = {"Buckets", "Where most is cut away", "Captions", "What cannot be read", "Settings"}
    assert headings <= set(seen["headings"])
    assert seen["wide"] == 0


@pytest.mark.chromium
@pytest.mark.parametrize("width", [1280, 400])
def test_the_box_lies_where_the_facts_say(tmp_path: Path, width: int) -> None:
    report = _report(tmp_path, [f"{number}.png" for number in range(8)])
    assert report.sheet
    shown = [*report.sheet.worst, *report.sheet.upscaled, *report.sheet.ordinary]
    seen = visit(_write(tmp_path, report), tmp_path, width=width).seen
    assert len(seen["crops"]) == len(shown) > 8
    for picture, (image, box) in zip(shown, seen["crops"], strict=True):
        crop, (left, top, wide, high) = picture.crop, image
        assert max(wide, high) > 100
        assert wide / high == pytest.approx(crop.resized_width / crop.resized_height, rel=0.01)
        scale = wide / crop.resized_width
        assert box == pytest.approx(
            [
                left + crop.left * scale, top + crop.top * scale,
                crop.crop_width * scale, crop.crop_height * scale,
            ],
            abs=1,
        )  # fmt: skip
    assert seen["wide"] == 0


@pytest.mark.chromium
def test_what_is_outside_the_box_is_dimmed_and_nothing_else(tmp_path: Path) -> None:
    """The pictures are green in the box and red around it."""
    report = _report(tmp_path, [f"{number}.png" for number in range(8)])
    shot = photograph(_write(tmp_path, report), tmp_path, width=1280, height=2600)
    red, green, blue = np.moveaxis(np.asarray(Image.open(shot).convert("RGB")).astype(int), 2, 0)
    bright_green = (green > 230) & (red < 40) & (blue < 40)
    dim_green = (green > 40) & (green < 150) & (red < 20) & (blue < 20)
    bright_red = (red > 230) & (green < 40) & (blue < 40)
    dim_red = (red > 60) & (red < 130) & (green < 20) & (blue < 20)
    assert bright_green.sum() > 20_000
    assert dim_red.sum() > 10_000
    assert bright_red.sum() == 0
    assert dim_green.sum() < 0.02 * bright_green.sum()  # at the line around the box


@pytest.mark.chromium
def test_the_page_of_many_buckets_fits_screens(tmp_path: Path) -> None:
    facts = make_facts(3000, buckets=tuple((256 + 4 * n, 900 - 4 * n) for n in range(150)))
    long = replace(facts.scan, folder="/a" + "/very-long-name-without-a-gap" * 20)
    page = _write(tmp_path, PlanReport(replace(facts, scan=long), None))
    for width in (1280, 400):
        assert visit(page, tmp_path, width=width).seen["wide"] == 0


@pytest.mark.chromium
def test_the_page_is_dark_where_the_reader_is(tmp_path: Path) -> None:
    page = _write(tmp_path, PlanReport(make_facts(), None))
    assert visit(page, tmp_path).seen["ground"] == "rgb(255, 255, 255)"
    dark = visit(page, tmp_path, flags=("--blink-settings=preferredColorScheme=0",))
    assert dark.seen["ground"] == "rgb(20, 23, 27)"

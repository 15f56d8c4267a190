"""A plan as text: what is said, and that it fits any screen."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hffs.cli.bucketing.figures import describe_settings
from hffs.cli.bucketing.text import render_text
from hffs.cli.drawing.terminal import Screen
from hffs.core.batches import BatchSpec
from hffs.core.buckets.spec import BucketSpec, Geometric, Limits
from hffs.core.types import Size
from hffs.train.report.facts import CaptionFacts, RemovalFacts, SizedName, TermFacts
from tests.train.plans import make_facts

HOSTILE = "\x1b[31mred\x1b[0m [bold]x[/bold] \u202eback"


def test_the_table_has_a_line_for_each_bucket_and_their_total() -> None:
    facts = make_facts()
    text = render_text(facts, Screen(width=120))
    lines = text.splitlines()
    assert lines[0] == "/data/photos"
    header = next(line for line in lines if line.startswith("  bucket "))
    assert re.split("  +", header.strip()) == [
        "bucket", "images", "batches", "aspect error", "crop loss", "upscale", "dropped",
    ]  # fmt: skip
    counts = [int(each) for each in re.findall(r"^  \d+ x \d+ +[█▏▎▍▌▋▊▉]+ +(\d+)", text, re.M)]
    assert counts == sorted((each.images for each in facts.buckets if each.images), reverse=True)
    total = next(line for line in lines if line.startswith("  all "))
    assert total.split()[1:3] == [str(facts.totals.images), str(facts.totals.batches)]
    assert "█" in text


def test_of_many_buckets_the_fullest_are_shown_unless_all_are_asked_for() -> None:
    many = tuple((256 + 2 * n, 768 - 2 * n) for n in range(90))
    facts = make_facts(2000, buckets=many)
    used = sum(1 for each in facts.buckets if each.images)
    assert used > 41
    text = render_text(facts, Screen(width=120))
    rest = re.search(r"  and (\d+) smaller buckets with ([\d,]+) images\n  all ", text)
    assert rest
    assert int(rest[1]) == used - 40
    fullest = sorted((each.images for each in facts.buckets), reverse=True)
    assert int(rest[2].replace(",", "")) == sum(fullest[40:])
    assert len(re.findall(r"^  \d+ x \d+ ", text, re.M)) == 40
    full = render_text(facts, Screen(width=120), full=True)
    assert len(re.findall(r"^  \d+ x \d+ ", full, re.M)) == used
    assert "smaller bucket" not in full


def test_one_bucket_more_is_said_of_one() -> None:
    facts = make_facts(2000, buckets=tuple((300 + 4 * n, 700 - 4 * n) for n in range(60)))
    used = [each for each in facts.buckets if each.images][:41]
    text = render_text(replace(facts, buckets=tuple(used)), Screen(width=120))
    assert "  and 1 smaller bucket with " in text


def test_columns_of_nothing_are_left_out() -> None:
    facts = make_facts()
    padded = replace(facts, totals=replace(facts.totals, dropped=0, padded=3))
    text = render_text(padded, Screen(width=120))
    (header,) = re.findall(r"^  bucket .*", text, re.M)
    assert header.split()[-2:] == ["upscale", "padded"]
    assert "an epoch, 3 padded" in text


def test_bars_are_worth_more_than_what_is_dropped() -> None:
    text = render_text(make_facts(), Screen(width=80))
    (header,) = re.findall(r"^  bucket .*", text, re.M)
    assert header.split()[-1] == "upscale"
    assert "█" in text


def test_narrow_screens_show_what_counts_most() -> None:
    text = render_text(make_facts(), Screen(width=44))
    header = next(line for line in text.splitlines() if line.startswith("  bucket "))
    assert header.split() == ["bucket", "images", "batches", "crop", "loss"]
    assert "a wider screen shows more columns" in text
    assert "a wider screen" not in render_text(make_facts(), Screen(width=100))
    tiny = render_text(make_facts(), Screen(width=12))
    assert "images" in tiny


@given(st.integers(10, 200), st.booleans(), st.booleans())
def test_no_line_is_wider_than_the_screen(width: int, unicode: bool, full: bool) -> None:
    facts = make_facts(20, problems={HOSTILE: HOSTILE, "日本語.jpg": "壊れている"})
    facts = replace(facts, captions=_captions())
    text = render_text(facts, Screen(width, unicode), full=full)
    assert max(map(cell_len, text.splitlines())) <= width
    if not unicode:
        assert not set(text) & set("█▏▎▍▌▋▊▉…")


def test_no_text_of_the_data_set_moves_the_cursor() -> None:
    facts = make_facts(problems={HOSTILE: HOSTILE})
    facts = replace(facts, id=HOSTILE, scan=replace(facts.scan, folder=HOSTILE))
    removal = RemovalFacts("too_small", "it is", 1, 1, (SizedName(HOSTILE, 1, 2),))
    facts = replace(facts, removed=(removal,), captions=_captions())
    text = render_text(facts, Screen(width=200), name=True)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("[bold]x[/bold]") >= 5
    assert "\x1b" in render_text(facts, Screen(width=200, colour=True))


def test_what_is_left_out_and_why() -> None:
    facts = make_facts(2000, problems={"b.png": "truncated", "c.png": "truncated"})
    text = render_text(facts, Screen(width=120))
    removal = facts.removed[0]
    example = removal.examples[0]
    assert (
        f"  too small  {removal.samples}  {removal.why}, e.g. {example.name} "
        f"({example.width} x {example.height})"
    ) in text
    assert "Cannot be read (2)\n  2  truncated, e.g. b.png" in text
    assert "2,002, 2 cannot be read" in text
    assert "nothing" in render_text(make_facts(smallest_px=0), Screen())


def test_reasons_whose_files_are_not_named_are_told() -> None:
    facts = make_facts(problems={"b.png": "truncated"})
    text = render_text(replace(facts, scan=replace(facts.scan, problems=())), Screen())
    assert "  1  truncated\n" in text


def test_a_plan_of_nothing() -> None:
    text = render_text(make_facts(0), Screen())
    assert "trained on   0 in 0 samples" in text
    assert "Buckets" not in text
    nothing_left = render_text(make_facts(3, smallest_px=9000), Screen())
    assert "too small  3" in nothing_left


def _captions() -> CaptionFacts:
    return CaptionFacts(
        of=30, looked_at=20, texts=15, missing=3, unreadable=0, blank=2, longer=0, duplicates=4,
        characters=None, words=None, frequent_words=(TermFacts(HOSTILE, 3),),
        tags=(TermFacts("sky", 1234), TermFacts("sea", 5)), longest=(), missing_names=("a.txt",),
    )  # fmt: skip


def test_captions() -> None:
    text = render_text(replace(make_facts(), captions=_captions()), Screen())
    assert "Captions (of a sample of 20 images)" in text
    assert "  missing         3\n  blank           2\n  repeat another  4\n" in text
    assert "  tags: sky (1,234), sea (5)\n" in text
    plain = replace(_captions(), tags=(), looked_at=30)
    text = render_text(replace(make_facts(), captions=plain), Screen())
    assert "Captions (of 30 images)" in text
    assert "tags:" not in text


def test_files_that_were_written_are_named() -> None:
    text = render_text(replace(make_facts(), files=("/cache/a.json",)), Screen())
    assert "Written\n /cache/a.json\n" in text


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            BucketSpec("grid", (1024.0,), "pixel", min_edge_px=128),
            "1024 px of the shorter edge | generator grid; edges in multiples of 64 px; "
            "from 128 to 1024 px",
        ),
        (
            BucketSpec("list", (0.5, 1.0), "area", geometric=Geometric(0.5, 2, 7)),
            "0.5 MP, 1 MP of area | generator list; edges in multiples of 64 px; "
            "7 aspects from 0.5 to 2",
        ),
        (
            BucketSpec("list", buckets=(1.0, Size(512, 768))),
            "1024 px as the edge of a square of the same area | generator list; "
            "edges in multiples of 64 px; 1, 512 x 768",
        ),
        (
            BucketSpec("list", buckets=tuple(map(float, range(1, 15)))),
            "1024 px as the edge of a square of the same area | generator list; "
            "edges in multiples of 64 px; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 2 more",
        ),
    ],
)
def test_settings_of_buckets(spec: BucketSpec, expected: str) -> None:
    settings = replace(make_facts().settings, buckets=spec)
    told = dict(describe_settings(settings))
    assert f"{told['resolutions']} | {told['buckets']}" == expected


def test_settings_of_limits_and_batches() -> None:
    limits = Limits(1, 2, 3, 0.5, 2, 0.2)
    batches = BatchSpec(pixel_budget=1_000_000, remainder="pad", world=4, shuffle=False)
    settings = replace(
        make_facts().settings, buckets=BucketSpec(limits=limits), batches=batches, upright=True
    )
    told = dict(describe_settings(settings))
    assert told["limits"] == (
        "at least 1 px; above 2 px shrunk first; shrunk to 3 px; width / height at least 0.5; "
        "width / height at most 2; edges grow by 0.2 of their length at most"
    )
    assert told["batches"] == (
        "as many images as have 1,000,000 pixels on each of 4 ranks; remainders padded; in order"
    )
    assert "repeats" not in told
    assert "probability" not in told
    told |= dict(
        describe_settings(
            replace(settings, batches=replace(settings.batches, repeats=3), probability=0.25)
        )
    )
    assert (told["repeats"], told["probability"]) == ("3", "0.25")
    assert told["orientation"] == "turned upright as EXIF asks"

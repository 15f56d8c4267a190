"""The page of `hffs inspect --html`, as text and as Chromium shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.cli.inspection.page import render_page
from hffs.view.inspection.facts import Inspection, Picture, Report, Sheet, SizeFacts
from tests.browser import visit
from tests.clips import Clip, Sound, encode_clip, encode_sound
from tests.command import Hffs
from tests.view.conftest import encode, write_set

HOSTILE = [
    "<script>window.ran = 'script'</script>",
    "<img src=x onerror=\"window.ran = 'onerror'\"><img src=http://leak.test/i.png>",
    "</style><style>body { display: none }</style></title></figcaption></section>",
    '" onmouseover="window.ran = \'attribute\'" autofocus onfocus="window.ran = \'focus\'" x="',
    "\u202eturned around\u202c \u2066isolated",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt; &amp;amp; <!-- ]]> <svg onload=\"window.ran = 'svg'\">",
    "<base href=http://leak.test/><meta http-equiv=refresh content='0;url=http://leak.test/m'>",
    "<link rel=stylesheet href=http://leak.test/s.css><iframe src=http://leak.test/f></iframe>",
    "היא אמרה <b>שלום</b>",
]


def _empty(name: str) -> Inspection:
    nothing = SizeFacts(0, 0, False, "headers", None, None, None, None, None, ())
    report = Report(
        id=name, media="image", source=name, identity="", image_column="image",
        image_column_kind="struct", columns=(), rows=0, images=0, shown=0, image_files=0,
        caption_files=0, lyrics_files=0, lyrics_column=None, source_bytes=0,
        removed=(), dropped={}, formats=(), passes=0, rendered=0, fails=0, image_format="jpg",
        orientation="as-is", composite=None, sizes=nothing, clips=None, captions=None, groups=None,
    )  # fmt: skip
    return Inspection(report, Sheet((), ()))


def test_a_page_of_nothing_is_a_page() -> None:
    page = render_page([_empty("a/nothing.parquet")])
    assert "<title>nothing.parquet - hffs inspect</title>" in page
    assert "Nothing is left." in page


def test_several_views_are_a_section_each() -> None:
    page = render_page([_empty("first"), _empty("second")])
    assert page.count('<section class="report of-image">') == 2
    assert "entry first" in page
    assert "<title>first, second - hffs inspect</title>" in page


def test_the_policy_allows_pictures_media_and_one_style_only() -> None:
    page = render_page([_empty("a")])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules.pop("style-src").startswith("'sha256-")
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "media-src": "data:", "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip
    assert "style=" not in page


def test_every_text_is_escaped() -> None:
    evil = "<b>\"'&"
    picture = Picture(evil, 0, "", 1, 1, evil, evil)
    inspection = replace(_empty(evil), sheet=Sheet((picture,), ()))
    page = render_page([inspection, inspection])
    assert evil not in page
    assert page.count("&lt;b&gt;&#34;&#39;&amp;") >= 10


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page of hostile captions, broken images, and removed rows."""
    images: list[object] = [encode("JPEG", n, (300, 200 + n)) for n in range(len(HOSTILE))]
    images += [b"broken <script>window.ran = 1</script>", encode("PNG", 0, (50, 50)), None]
    captions = [*HOSTILE, "broken", "<i>small</i>", "null"]
    source = write_set(
        tmp_path / "<u>set.parquet", images, caption=captions, **{"<s>column": captions}
    )
    path = tmp_path / "page.html"
    hffs = Hffs.below(tmp_path)
    hffs("inspect", source, "--html", path, "--where", "caption not like '%small%'",
         "--caption-column", "caption")  # fmt: skip
    return path


@pytest.mark.chromium
def test_what_chromium_shows_of_a_hostile_set(page: Path, tmp_path: Path) -> None:
    found = visit(page, tmp_path)
    seen = found.seen
    assert found.console == []
    assert found.requests == ["http://page.test/", "http://page.test/page.html"]
    assert seen["ran"] is None
    assert seen["scripted"] == 0
    assert not set(seen["tags"]) & {"script", "iframe", "base", "link", "object", "form", "i"}
    assert seen["lang"] == "en"
    assert seen["title"] == "<u>set.parquet - hffs inspect"
    assert len(seen["images"]) == len(HOSTILE) + 1
    assert all(width > 0 and height > 0 and alt for width, height, alt in seen["images"])
    hidden = str.maketrans(dict.fromkeys("\u202e\u202c\u2066", "\ufffd"))
    shown = [text for text in seen["texts"] if not text.startswith("caption: ")]
    assert shown == [*(text.translate(hidden) for text in HOSTILE), "broken"]
    assert "caption: <i>small</i>" in seen["texts"]
    assert seen["names"] == [f"{n}.jpg" for n in range(len(HOSTILE) + 1)] + ["row 10"]
    assert [problem.split(",")[0] for problem in seen["problems"]] == ["not one of JPEG"]
    assert {"What is shown", "What is left out", "Sizes", "Columns"} <= set(seen["headings"])


def _inspect(tmp_path: Path, media: str, cells: list[bytes], *flags: str) -> Path:
    captions = [HOSTILE[number % len(HOSTILE)] for number in range(len(cells))]
    rows = [{"bytes": data, "path": None} for data in cells]
    pq.write_table(pa.table({media: rows, "caption": captions}), tmp_path / "set.parquet")
    path = tmp_path / "page.html"
    hffs = Hffs.below(tmp_path)
    hffs("inspect", tmp_path / "set.parquet", "--dataset-type", media, "--html", path, *flags)
    return path


@pytest.mark.chromium
def test_chromium_plays_what_it_can_of_videos(tmp_path: Path, clips: dict[str, Path]) -> None:
    shown = [path.read_bytes() for path in clips.values()]
    made = ("mp4", "mov", "mkv", "webm", "flv")
    shown += [encode_clip(Clip(kind, 320, 240, 50, 25, tone=kind != "flv")) for kind in made]
    page = _inspect(tmp_path, "video", [*shown, shown[-5][:400]], "--min-frames", "41")
    found = visit(page, tmp_path)
    assert found.console == []
    assert found.requests == ["http://page.test/", "http://page.test/page.html"]
    assert (found.seen["ran"], found.seen["scripted"]) == (None, 0)
    media = found.seen["media"]
    # MPEG-2, Theora and Sorenson have a picture, and the damaged one has none.
    assert len(media) == len(shown) - 3
    assert len(found.seen["images"]) == 3
    for name, duration, error, width, controls, autoplay, poster in media:
        assert (name, error, controls, autoplay) == ("video", None, True, False)
        assert poster == "data:image/jpeg;base64"
        assert 0.5 < duration < 11
        assert width >= 176
    assert found.seen["problems"] == ["Invalid data found when processing input"]
    assert {"Sizes", "Durations and frames", "Made of", "Frames"} <= set(found.seen["headings"])
    assert found.seen["wide"] == 0


@pytest.mark.chromium
def test_chromium_plays_what_it_can_of_sounds(tmp_path: Path, recordings: dict[str, Path]) -> None:
    shown = [path.read_bytes() for path in recordings.values()]
    made = ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "aiff")
    shown += [encode_sound(Sound(kind, 48_000, 2, 4.0)) for kind in made]
    long = encode_sound(Sound("wav", 48_000, 2, 30.0))  # of which a part is shown
    found = visit(_inspect(tmp_path, "audio", [*shown, long]), tmp_path)
    assert found.console == []
    media = found.seen["media"]
    assert len(media) == len(shown)  # but the AIFF
    assert all(each[:1] + each[2:4] == ["audio", None, 0] for each in media)
    assert all(0.4 < each[1] < 20 for each in media)
    assert found.seen["problems"] == ["no browser plays what is in it"]
    assert "Sizes" not in found.seen["headings"]
    assert {"Durations", "Duration", "Made of"} <= set(found.seen["headings"])


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "least", "most"), [(1280, 5, 8), (360, 2, 2)])
def test_the_page_fits_screens(
    page: Path, tmp_path: Path, width: int, least: int, most: int
) -> None:
    seen = visit(page, tmp_path, width=width).seen
    assert seen["wide"] == 0
    assert least <= len(seen["columns"].split()) <= most


@pytest.mark.chromium
def test_the_page_is_dark_where_the_reader_is(page: Path, tmp_path: Path) -> None:
    assert visit(page, tmp_path).seen["ground"] == "rgb(255, 255, 255)"
    dark = visit(page, tmp_path, flags=("--blink-settings=preferredColorScheme=0",))
    assert dark.seen["ground"] == "rgb(20, 23, 27)"


@pytest.mark.chromium
def test_a_look_at_a_page_would_see_what_it_did(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><meta http-equiv=Content-Security-Policy content=\"img-src 'none'\">"
        "<img src=http://leak.test/blocked.png><script>window.ran = 1</script>"
        "<script src=http://leak.test/s.js></script>"
    )
    found = visit(bad, tmp_path)
    assert found.seen["ran"] == 1
    assert any("leak.test/s.js" in request for request in found.requests)
    assert any("Content Security Policy" in line for line in found.console)
    assert found.seen["images"][0][:2] == [0, 0]

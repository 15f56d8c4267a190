"""What is told of captions, by folders of small files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hffs.train.plan import Plan
from hffs.train.report import captions
from hffs.train.report.captions import describe_captions
from hffs.train.report.facts import CaptionFacts, TermFacts
from tests.train.plans import Quiet, make_plan, make_scan


def _plan(folder: Path, names: list[str]) -> Plan:
    return make_plan(make_scan(folder, names, [(512, 512)] * len(names)))


def _describe(folder: Path, texts: list[str | bytes | None]) -> CaptionFacts:
    for number, text in enumerate(texts):
        if text is not None:
            data = text.encode() if isinstance(text, str) else text
            (folder / f"{number}.txt").write_bytes(data)
    return describe_captions(_plan(folder, [f"{n}.jpg" for n in range(len(texts))]), 2, Quiet())


def test_texts_are_counted_and_measured(tmp_path: Path) -> None:
    facts = _describe(tmp_path, ["a cat", "a cat\n", "\ufeffdog", " \n", None, "two\nlines here"])
    assert (facts.of, facts.looked_at, facts.texts) == (6, 6, 4)
    assert (facts.missing, facts.blank, facts.unreadable, facts.longer) == (1, 1, 0, 0)
    assert facts.duplicates == 1
    assert facts.missing_names == ("4.txt",)
    assert facts.characters
    assert facts.words
    assert (facts.characters.min, facts.characters.max) == (3, 14)
    assert (facts.words.min, facts.words.max) == (1, 3)
    assert [(each.name, each.characters) for each in facts.longest[:1]] == [("5.txt", 14)]


def test_sidecars_lie_beside_images_in_folders(tmp_path: Path) -> None:
    (tmp_path / "a.b").mkdir()
    (tmp_path / "a.b" / "x.y.txt").write_text("found")
    facts = describe_captions(_plan(tmp_path, ["a.b/x.y.png"]), 1, Quiet())
    assert facts.texts == 1


def test_tags_and_words_count_captions_not_repeats(tmp_path: Path) -> None:
    facts = _describe(
        tmp_path,
        ["red car, sky,sky,", "sky, red  car", "The sky above the harbour", "Harbour, 1girl"],
    )
    assert facts.tags == (TermFacts("red car", 2), TermFacts("sky", 2))
    words = {each.term: each.captions for each in facts.frequent_words}
    assert words == {"car": 2, "girl": 1, "harbour": 2, "red": 2, "sky": 3}
    assert facts.frequent_words[0] == TermFacts("sky", 3)


def test_what_cannot_be_read_is_told_apart_from_what_is_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0.txt")
    (tmp_path / "1.txt").mkdir()
    facts = _describe(tmp_path, [None, None, b"caf\xe9", "x" * 2**17])
    assert (facts.unreadable, facts.missing, facts.texts, facts.longer) == (2, 0, 2, 1)
    assert facts.characters
    assert (facts.characters.min, facts.characters.max) == (4, 2**16)
    assert facts.longest[0].text == "x" * 600


def test_images_that_are_left_out_are_not_asked_for_captions(tmp_path: Path) -> None:
    scan = make_scan(tmp_path, ["a.jpg", "b.jpg"], [(512, 512), (9, 9)])
    facts = describe_captions(make_plan(scan, smallest_px=64), 1, Quiet())
    assert (facts.of, facts.missing_names) == (1, ("a.txt",))


def test_of_many_a_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "MOST_CAPTIONS", 700)
    watcher = Quiet()
    plan = _plan(tmp_path, [f"{number}.jpg" for number in range(3000)])
    first = describe_captions(plan, 2, watcher)
    assert (first.of, first.looked_at, first.missing) == (3000, 700, 700)
    assert len(first.missing_names) == 20
    assert first == describe_captions(plan, 2, Quiet())
    assert watcher.seen == [("reading captions", 512, 700), ("reading captions", 700, 700)]


def test_rare_words_are_forgotten_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captions, "_KEPT_TERMS", 50)
    letters = "abcdefghijklmnopqrstuvwxyz"
    rare = [f"often seen {first}{second}zz" for first in letters for second in letters]
    facts = _describe(tmp_path, list(rare))
    assert facts.frequent_words[:2] == (TermFacts("often", 676), TermFacts("seen", 676))


def test_no_captions_at_all(tmp_path: Path) -> None:
    facts = _describe(tmp_path, [])
    assert (facts.of, facts.texts, facts.characters, facts.longest) == (0, 0, None, ())

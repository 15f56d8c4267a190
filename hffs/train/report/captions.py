"""What captions beside the images say, and how many there are.

Owns which are read where reading all would take too long, and what is counted of them. Must not
know how they are shown. A caption belongs to an image of the same name but for the extension.
Memory is bounded: of a long text the beginning is read, of rare words the count is forgotten.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa

from hffs.core.histograms import LENGTH_EDGES, describe_spread
from hffs.core.sampling import sample_rows
from hffs.data.watcher import Watcher
from hffs.train.decoding import open_regular
from hffs.train.plan import Plan
from hffs.train.report.facts import CaptionFacts, CaptionText, TermFacts

MOST_CAPTIONS = 20_000
"""Files that are read at most: on a mount each takes a request or three."""

_READ_BYTES = 2**16
_MOST_TERMS, _MOST_TAG = 40, 40
_KEPT_TERMS = 200_000
_LONGEST, _SHOWN_CHARACTERS, _MOST_MISSING = 5, 600, 20
_AT_ONCE, _SEED = 512, 0

_WORD = re.compile(r"[^\W\d_]{3,}")
_IN_ANY_TEXT = frozenset((
    "about", "above", "after", "all", "also", "and", "any", "are", "been", "behind", "being",
    "below", "but", "can", "each", "for", "from", "front", "has", "have", "her", "here", "him",
    "his", "how", "into", "its", "just", "like", "made", "more", "most", "not", "one", "only",
    "onto", "other", "our", "out", "over", "she", "some", "such", "than", "that", "the",
    "their", "them", "then", "there", "these", "they", "this", "those", "through", "too", "two",
    "under", "very", "was", "were", "what", "when", "where", "which", "while", "who", "will",
    "with", "you", "your",
))  # fmt: skip
"""Frequent in English whatever it is about."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One caption file: its text, or why there is none."""

    name: str
    text: str = ""
    problem: str = ""
    is_whole: bool = True


def describe_captions(plan: Plan, workers: int, watcher: Watcher) -> CaptionFacts:
    """Read captions of the images that have a sample, of a sample of these where there are many."""
    images = np.flatnonzero(np.bincount(plan.assignment.image))
    chosen = images[sample_rows(images, MOST_CAPTIONS, _SEED)]
    extension = plan.caption_extension
    names = [
        f"{name.rpartition('.')[0]}.{extension}"
        for name in plan.scan.names.take(pa.array(chosen)).to_pylist()
    ]
    counted = _Count()
    with ThreadPoolExecutor(workers, thread_name_prefix="hffs-captions") as pool:
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            counted.add(pool.map(lambda name: _read(plan.scan.folder, name), part))
            watcher.progress("reading captions", start + len(part), len(names))
    return counted.describe(of=len(images), looked_at=len(names))


def _read(folder: Path, name: str) -> _Read:
    try:
        with open_regular(folder / name) as file:
            data = file.read(_READ_BYTES + 1)
    except FileNotFoundError:
        return _Read(name, problem="missing")
    except OSError as error:
        return _Read(name, problem=error.strerror or str(error))
    text = data[:_READ_BYTES].decode("utf-8-sig", "replace").strip()
    return _Read(name, text, is_whole=len(data) <= _READ_BYTES)


class _Terms:
    """Counts in how many texts a term is; where there are too many terms, rare ones are lost."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def add(self, terms: Iterable[str]) -> None:
        self._counts.update(set(terms))
        least = 1
        while len(self._counts) > _KEPT_TERMS:
            least += 1
            kept = {term: count for term, count in self._counts.items() if count >= least}
            self._counts = Counter(kept)

    def most_common(self, least: int) -> tuple[TermFacts, ...]:
        """Those in at least so many texts; of equally frequent ones in the order of letters."""
        frequent = [(-count, term) for term, count in self._counts.items() if count >= least]
        return tuple(TermFacts(term, -count) for count, term in sorted(frequent)[:_MOST_TERMS])


@dataclass(slots=True)
class _Count:
    """What was found so far."""

    missing: list[str] = field(default_factory=list)
    missing_count: int = 0
    unreadable: int = 0
    blank: int = 0
    longer: int = 0
    characters: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    distinct: set[bytes] = field(default_factory=set)
    longest: list[_Read] = field(default_factory=list)
    frequent: _Terms = field(default_factory=_Terms)
    tags: _Terms = field(default_factory=_Terms)

    def add(self, captions: Iterable[_Read]) -> None:
        for caption in captions:
            if caption.problem:
                self._add_problem(caption)
            elif caption.text:
                self._add_text(caption)
            else:
                self.blank += 1
        self.longest = sorted(self.longest, key=lambda each: -len(each.text))[:_LONGEST]

    def _add_problem(self, caption: _Read) -> None:
        if caption.problem != "missing":
            self.unreadable += 1
            return
        self.missing_count += 1
        if len(self.missing) < _MOST_MISSING:
            self.missing.append(caption.name)

    def _add_text(self, caption: _Read) -> None:
        text = caption.text
        self.longer += not caption.is_whole
        self.characters.append(len(text))
        self.words.append(len(text.split()))
        self.distinct.add(blake2b(text.encode(), digest_size=16).digest())
        self.longest.append(caption)
        self.frequent.add(_find_words(text))
        self.tags.add(_find_tags(text))

    def describe(self, of: int, looked_at: int) -> CaptionFacts:
        texts = len(self.characters)
        return CaptionFacts(
            of=of,
            looked_at=looked_at,
            texts=texts,
            missing=self.missing_count,
            unreadable=self.unreadable,
            blank=self.blank,
            longer=self.longer,
            duplicates=texts - len(self.distinct),
            characters=describe_spread(np.array(self.characters), LENGTH_EDGES),
            words=describe_spread(np.array(self.words), LENGTH_EDGES),
            frequent_words=self.frequent.most_common(1),
            tags=self.tags.most_common(2),
            longest=tuple(
                CaptionText(each.name, len(each.text), each.text[:_SHOWN_CHARACTERS])
                for each in self.longest
            ),
            missing_names=tuple(self.missing),
        )


def _find_words(text: str) -> Iterator[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return (word for word in words if word not in _IN_ANY_TEXT)


def _find_tags(text: str) -> Sequence[str]:
    """What stands between commas; a text without one has none."""
    parts = [" ".join(part.split()) for part in re.split("[,\n]", text)]
    return [part for part in parts if 0 < len(part) <= _MOST_TAG] if len(parts) > 1 else []

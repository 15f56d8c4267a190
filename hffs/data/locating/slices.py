"""Which rows of its shards a source has: what `train[:10%]` means once the rows are counted.

The arithmetic is that of `datasets`, which is imported only where there is a slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hffs.data.shards import Located
from hffs.errors import ConfigError

Window = tuple[int, int]


def find_windows(located: Located, rows: Sequence[int]) -> tuple[Window, ...]:
    """The first row of each shard that counts, and the one after the last.

    ConfigError for a slice that cannot be read, or that reaches out of its split.
    """
    if not located.slices:
        return tuple((0, count) for count in rows)
    windows: list[Window] = []
    for term, shards in located.terms:
        own = rows[len(windows) : len(windows) + shards]
        start, stop = 0, sum(own)
        if term.slice:
            start, stop = _resolve(term.split, term.slice, stop)
        windows += _spread(own, start, stop)
    return tuple(windows)


def _spread(rows: Sequence[int], start: int, stop: int) -> Iterator[Window]:
    """The part of a range of rows that lies in each of some shards in a row."""
    first = 0
    for count in rows:
        low = min(max(start - first, 0), count)
        yield low, min(max(stop - first, low), count)
        first += count


def _resolve(split: str, text: str, rows: int) -> Window:
    # Late: it takes a second, and nearly no mount slices.
    from datasets import ReadInstruction

    try:
        (found,) = ReadInstruction.from_spec(split + text).to_absolute({split: rows})
    except (ValueError, AssertionError) as error:
        why = f"{str(error).rstrip('.')}; the split has {rows} rows"
        raise ConfigError("cannot use split", split + text, why=why) from error
    return found.from_, max(found.from_, found.to)

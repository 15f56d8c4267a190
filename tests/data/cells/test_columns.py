"""Which column holds a medium, where a data set has several of them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from hffs.core.formats import Media
from hffs.data.cells.columns import find_media_column, require_one_medium
from hffs.data.source import MediaColumn, Source
from hffs.errors import ConfigError, DataError

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _schema(**labels: str) -> pa.Schema:
    """Columns of cells, with what the Hugging Face metadata calls them."""
    features = {name: {"_type": label} for name, label in labels.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(name, CELL) for name in labels], metadata)


def _find(schema: pa.Schema, media: Media, wanted: str | None = None) -> MediaColumn:
    return find_media_column(Source("set", Path("/set"), (), schema, ()), wanted, media)


BOTH = _schema(clip="Video", voice="Audio", poster="Image")


@pytest.mark.parametrize(
    ("media", "name"), [("video", "clip"), ("audio", "voice"), ("image", "poster")]
)
def test_each_medium_has_its_own_column(media: Media, name: str) -> None:
    assert _find(BOTH, media) == MediaColumn(name, "struct", media=media)


def test_a_column_of_another_medium_cannot_be_chosen() -> None:
    with pytest.raises(ConfigError, match="it holds Audio, not videos"):
        _find(BOTH, "video", "voice")


def test_what_there_is_instead_is_named() -> None:
    with pytest.raises(DataError) as caught:
        _find(_schema(voice="Audio"), "video")
    line = "cannot mount set: it has no video column, but sounds (voice); "
    assert str(caught.value) == line + "mount these by --dataset-type audio"


def test_several_media_of_which_nobody_chose_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        require_one_medium(BOTH, "set")
    line = "cannot mount set: it has videos (clip) and sounds (voice) and images (poster); "
    assert str(caught.value) == line + "choose one by --dataset-type video|audio|image"


@pytest.mark.parametrize(
    "schema",
    [
        _schema(a="Image", b="Image"),
        _schema(a="Video"),
        _schema(a="Value", b="Audio"),
        pa.schema([("image", CELL), ("video", CELL)]),  # nobody said what these are
    ],
)
def test_one_medium_needs_no_choice(schema: pa.Schema) -> None:
    require_one_medium(schema, "set")

"""Whatever flags and texts are typed, `hffs mount` says at most one line and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hffs.cli import run
from hffs.config import all_keys

FLAGS = sorted(key.flag for key in all_keys().values())
OTHERS = ["--no-offline", "--no-composite", "--entry", "--uid", "--umask", "--no-such-flag", "-f"]

# Surrogates are what Python makes of arguments that are not UTF-8.
texts = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["1", "-1", "1e999", "nan", "all", "2x2", "a=1", "=", "text:x", "train[:5]", "caption", "", "~"]
)
flags = st.sampled_from(FLAGS)
given_flags = st.tuples(flags, texts) | st.tuples(flags, texts) | st.tuples(flags)
pieces = given_flags | given_flags | given_flags | st.tuples(st.sampled_from(OTHERS) | texts)
words = st.lists(pieces, max_size=4).map(lambda made: [word for piece in made for word in piece])


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(words)
def test_any_command_line_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], typed: list[str]
) -> None:
    source = tmp_path / "photos.json"
    source.write_text(json.dumps({"dataset_name": "photos"}), encoding="utf-8")
    code = run(["mount", str(source), str(tmp_path / "no such folder"), *typed])
    told = capfd.readouterr()
    if "--help" in typed or "-h" in typed:
        return
    assert code in (2, 3, 4)
    assert told.out == ""
    assert told.err.startswith("hffs: ")
    assert told.err.count("\n") == 1

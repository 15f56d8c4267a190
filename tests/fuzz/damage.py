"""What all fuzzing shares: the program that opens data sets, and damage of any kind.

Owns how an outcome is judged. Must not know what is damaged.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests import formats
from tests.command import Hffs
from tests.fuzz import opening

EXAMPLES = int(os.environ.get("HFFS_FUZZ_EXAMPLES", "2"))
DEADLINE_S = 200
SECRET = "what lies beside the data set"  # noqa: S105 - no secret, but none of its business
many = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), print_blob=True)


class Opener:
    """The program that opens data sets; another one after a crash."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._place = tempfile.TemporaryDirectory()
        self.folder = Path(self._place.name)
        # As an image that is passed through unread: one that is none is refused wherever it lies.
        (self.folder / "secret.jpg").write_bytes(b"\xff\xd8\xff\xe0" + SECRET.encode())
        self._words = (self.folder / "stderr").open("w+")
        self._program: subprocess.Popen[bytes] | None = None
        self._told = b""  # read of it and not looked at yet

    def close(self) -> None:
        self._end()
        self._words.close()
        self._place.cleanup()

    def _end(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.communicate()
            self._program = None
            self._told = b""

    def open(self, files: Mapping[str, bytes], keys: Mapping[str, Any]) -> str:
        """What comes of a data set: "read", "refused" or "crashed" while it is decided."""
        return self._open(files, keys)[0]

    def read(self, files: Mapping[str, bytes], keys: Mapping[str, Any]) -> list[int]:
        """Checksums (CRC-32) of the files of a data set, a view, that could be read."""
        outcome, told = self._open(files, keys)
        assert outcome == "read"
        return list(told["read"])

    def _open(
        self, files: Mapping[str, bytes], keys: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            return self._open_there(str(formats.write_files(files, Path(place, "set"))), keys)

    def open_there(self, source: str, keys: Mapping[str, Any]) -> str:
        """As `open`, of a data set that is there, with caches of its own."""
        return self._open_there(source, keys)[0]

    def _open_there(self, source: str, keys: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            kept = {"cache_dir": f"{place}/cache"}
            return self._ask({"source": source, "keys": {**keys, **kept}, "secret": SECRET})

    def _ask(self, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        if self._program is None:
            self._program = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", opening.__name__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words,
                env=Hffs.below(self.folder).environ | self._environ,
            )  # fmt: skip
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(asked).encode() + b"\n")
        self._program.stdin.flush()
        is_decided = False
        while True:
            line = self._read_line(self._program)
            if not line:
                status = self._program.wait()
                self._end()
                # Deciding is the work of a child, whose crash is one error.
                assert not is_decided, f"a mount would have crashed ({status})"
                return "crashed", {}
            told = json.loads(line)
            assert "failed" not in told, told["failed"]
            if "decided" not in told:
                return "read" if "read" in told else "refused", told
            is_decided = True

    def _read_line(self, program: subprocess.Popen[bytes]) -> bytes:
        """What it tells next, nothing where it has ended.

        Read without a buffer of Python's: what that holds, `select` knows nothing of.
        """
        assert program.stdout is not None
        while b"\n" not in self._told:
            readable, _, _ = select.select([program.stdout], [], [], DEADLINE_S)
            if not readable:
                self._end()
                said = (self.folder / "stderr").read_text(errors="replace")
                pytest.fail(f"it hangs: {said[-8000:]}")
            more = os.read(program.stdout.fileno(), 1 << 16)
            if not more:
                return b""
            self._told += more
        line, _, self._told = self._told.partition(b"\n")
        return line


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some of them flipped, cut, moved, repeated or replaced by telling numbers."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        # Where formats say what is where: at the beginning and at the end.
        size = len(data)
        near = st.one_of(
            st.integers(0, min(64, size)),
            st.integers(max(0, size - 600), size),
            st.integers(0, size),
        )
        at = draw(near)
        how = draw(st.sampled_from(["flip", "flip", "number", "cut", "drop", "repeat", "noise"]))
        if how == "flip" and at < size:
            data[at] ^= draw(st.integers(1, 255))
        elif how == "number":
            number = draw(st.sampled_from([0, 1, 0x7F, 0xFF, 2**31 - 1, 2**32 - 1, 2**63 - 1]))
            raw = number.to_bytes(8, draw(st.sampled_from(["little", "big"])))
            data[at : at + 4] = raw[:4]
        elif how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at : at + draw(st.integers(1, 50))]
        elif how == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 5000))]
        else:
            data[at : at + 4] = draw(st.binary(max_size=8))
    return bytes(data)

"""A Hub and a process that asks it, for all tests of a module: each has data sets of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import HubServer

HERE = Path(__file__)


class Refused(Exception):  # noqa: N818 - what the process said, not what went wrong here
    """The one line that the process answered with, and the class of its error."""

    def __init__(self, line: str, kind: str) -> None:
        super().__init__(line)
        self.line, self.kind = line, kind


@dataclass
class Asker:
    """The process, its environment, and everything that it has said on stderr."""

    process: subprocess.Popen[str]
    home: Path
    stderr: Path

    @classmethod
    def start(cls, folder: Path, environ: Mapping[str, str], at: Path | None = None) -> Self:
        """Start the process; what it keeps and says goes below a folder, `at` is where it works."""
        folder.mkdir(parents=True, exist_ok=True)
        code = {"PYTHONPATH": str(HERE.parents[3])}
        own = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder), "HF_HOME": str(folder / "hf")}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        with (folder / "stderr").open("a") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.data.hub.asking"],
                cwd=at or HERE.parents[3],
                env=clean | own | code | dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        home = Path({**own, **environ}["HF_HOME"])
        return cls(process, home, folder / "stderr")

    def begin(self, verb: str, name: str, **given: Any) -> None:
        """Hand a task over; what is no field of a request goes beside it."""
        beside = {
            k: given.pop(k)
            for k in ("files", "commit", "names", "patience", "folder", "keys")
            if k in given
        }
        task = {"verb": verb, "request": {"name": name} | given} | beside
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        """The answer to the task, or Refused."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.stderr.read_text()
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"], answer["kind"])
        return answer["value"]

    def __call__(self, verb: str, name: str, **given: Any) -> Any:
        self.begin(verb, name, **given)
        return self.end()

    def refusal(self, verb: str, name: str, **given: Any) -> tuple[str, str]:
        """Class and line of the error that a task has to end with."""
        self.begin(verb, name, **given)
        return self.end_refused()

    def end_refused(self) -> tuple[str, str]:
        """Class and line of the error, as the answer to the task that was begun."""
        with pytest.raises(Refused) as caught:
            self.end()
        line = caught.value.line
        assert "\n" not in line
        assert len(line) < 700, line
        return caught.value.kind, line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def site() -> Iterator[HubServer]:
    """A Hub for all tests of a module."""
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared_asker(site: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("asker")
    process = Asker.start(folder, site.env(folder / "hf"))
    yield process
    process.close()
    assert process.stderr.read_text() == ""


@pytest.fixture
def asker(site: HubServer, shared_asker: Asker) -> Asker:
    """The process for one test; the log of the Hub begins with it."""
    site.clear()
    return shared_asker


def parquet(rows: int = 3, start: int = 0) -> bytes:
    """A small Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table({"caption": [f"row {start + row}" for row in range(rows)]}), out)
    return out.getvalue()


def file_of(found: Mapping[str, Any], split: str = "train") -> list[dict[str, Any]]:
    """The files of a split that a resolution has."""
    files: list[dict[str, Any]] = found["files"][split]
    return files

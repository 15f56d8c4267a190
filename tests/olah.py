"""olah, a mirror that others wrote, in front of the Hub for tests: what hffs shall bear as well.

It is installed in a venv of its own, which `make test` makes from tests/olah.txt: its libraries are
not ours. Knows how to start and to stop it, not what it answers.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.hub import HubServer

VENV = Path(__file__).parents[1] / ".venv-olah"
STOP_S = 20


def olah_missing() -> str:
    """Why olah cannot be run here, or an empty string."""
    there = (VENV / ".ready").exists()
    return "" if there else f"{VENV.name} is not there (make test makes it)"


@contextlib.contextmanager
def open_olah(hub: HubServer, folder: Path, mirrors: Path | None = None) -> Iterator[str]:
    """Start olah in front of a Hub, with its cache in an empty folder; the endpoint.

    It answers from git repositories, `mirrors`/datasets/user/name, where there is one.
    """
    config = folder / "olah.toml"
    config.write_text(_config(hub, folder, mirrors))
    logs = ["--log-path", str(folder / "logs")]
    # Isolated: what PYTHONPATH adds to this process is not for that one.
    program = [str(VENV / "bin/python"), "-I", str(VENV / "bin/olah-cli")]
    with subprocess.Popen(
        [*program, "--config", config, *logs],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as serving:
        try:
            yield _wait_for_endpoint(serving)
        finally:
            serving.terminate()
            _kill_when_late(serving)


def _config(hub: HubServer, folder: Path, mirrors: Path | None) -> str:
    scheme, _, place = hub.endpoint.partition("://")
    keys = {
        "host": "127.0.0.1",
        "hf-scheme": scheme,
        "hf-netloc": place,
        "hf-lfs-netloc": place,
        "repos-path": str(folder / "repos"),
    }
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    paths = f'"{mirrors}"' if mirrors else ""
    # Port 0: the system chooses a free one, and the log tells which.
    return "\n".join(["[basic]", *lines, "port = 0", f"mirrors-path = [{paths}]", ""])


def _wait_for_endpoint(serving: subprocess.Popen[str]) -> str:
    out = serving.stdout
    said = []
    for line in out or ():
        said.append(line)
        if running := re.search(r"Uvicorn running on (http://\S+)", line):
            # Read on, or it blocks once the pipe is full; ends when the program does.
            threading.Thread(target=list, args=(out,), daemon=True).start()
            return running[1]
    raise AssertionError("olah did not start: " + "".join(said))


def _kill_when_late(serving: subprocess.Popen[str]) -> None:
    try:
        serving.wait(STOP_S)
    except subprocess.TimeoutExpired:
        serving.kill()

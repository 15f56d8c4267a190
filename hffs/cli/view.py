"""`hffs view`: decide a view once, and write it to a file that opens it on any host.

Owns where the file goes: it appears whole or not at all, and never in the place of anything but a
view. The view is decided in a child process, as for a mount.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hffs.cli.children import ask_child
from hffs.cli.commands import Option
from hffs.cli.drawing.programs import Json
from hffs.cli.engines import EngineChoice, EngineName, open_engine
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.optiongroups import with_options
from hffs.cli.sources import Entry, Source, Trainer, choose_configs
from hffs.config import Config
from hffs.config.recorded import RecordedConfig
from hffs.data.folders import replace_whole
from hffs.data.viewfile.header import SUFFIX, is_view
from hffs.errors import UsageError

if TYPE_CHECKING:
    from hffs.mount.lifecycle.pipes import Listener

_Output = Annotated[Path, Option("--output", "-o", metavar="FILE", help=f"The file, VIEW{SUFFIX}.")]
_Force = Annotated[bool, Option("--force", help="Replace a file that is no view.")]
_Digests = Annotated[
    bool,
    Option(
        "--digest/--no-digest",
        help="Read the files of a local data set for digests of their content, so that copies "
        "with other times are known for the same.",
    ),
]


@with_config_flags
@with_options(EngineChoice, "choice")
def view(  # noqa: PLR0913 - one parameter an option
    source: Source,
    *,
    output: _Output,
    choice: EngineChoice,
    flags: Flags,
    trainer: Trainer = None,
    entry: Entry = None,
    force: _Force = False,
    digest: _Digests = True,
    as_json: Json = False,
) -> None:
    """Decide a view and write it to a file, which `hffs mount` opens on any host."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    config = _choose(source, flags, entry, trainer)
    path = _check_output(output, config, force=force)
    recorded = _record(config, path, choice, reads=digest)
    recorded |= {"view": str(path), "size_bytes": path.stat().st_size}
    if as_json:
        print(json.dumps(recorded, indent=2))
        return
    count, size = recorded["positions"], recorded["size_bytes"]
    # Late: it brings numpy, whose threads no child that is forked may find.
    from hffs.core.formats import NOUNS

    what = f"{count} {NOUNS[recorded['media']][1]} of {recorded['source']}"
    print(
        f"{path}: {what}, {size / 1e6:.1f} MB "
        f"({size / count:.0f} bytes each), fingerprint {recorded['fingerprint'][:12]}"
    )


def _choose(source: str, flags: Flags, entry: str | None, trainer: str | None) -> Config:
    chosen = choose_configs(source, flags, entry, os.environ, trainer)
    config = chosen.configs[0]
    if len(chosen.configs) > 1:
        ids = ", ".join(each.id for each in chosen.configs)
        fix = "choose one by --entry ID"
        raise UsageError("cannot record", source, why=f"it has several entries: {ids}", fix=fix)
    if isinstance(config, RecordedConfig):
        why = "it is a view that is recorded"
        raise UsageError("cannot record", source, why=why, fix="copy the file")
    if config.shard is not None:
        why, fix = "a view is recorded whole", "give it to hffs mount"
        raise UsageError("cannot use --shard", config.shard, why=why, fix=fix)
    return config


def _check_output(output: Path, config: Config, *, force: bool) -> Path:
    """The file to write, with links followed; refused before anything is decided."""
    path = Path(os.path.realpath(output))

    def refuse(why: str, fix: str = "name another file") -> UsageError:
        return UsageError("cannot write the view to", str(output), why=why, fix=fix)

    if path.suffix.lower() != SUFFIX:
        raise refuse(f"its name does not end in {SUFFIX}", f"name it {path.stem}{SUFFIX}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise refuse(f"there is no folder {path.parent} that can be written to")
    source = Path(os.path.realpath(config.dataset_name))
    is_inside = path == source or (source.is_dir() and path.is_relative_to(source))
    if is_inside or fnmatch(str(path), str(source)):
        raise refuse("it would be a part of the data set")
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise refuse("it is no plain file")
    if path.exists() and not force and not is_view(path):
        raise refuse("it is there, and is no view", "name another file, or say --force")
    return path


def _record(config: Config, path: Path, choice: EngineChoice, *, reads: bool) -> dict[str, Any]:
    """Write the file beside its place, then put it there."""
    with _writing(path), replace_whole(path) as file:

        def work(apart: Listener, workers: int) -> bytes:
            from hffs.data.arrow import do_without_pandas
            from hffs.data.locating.recording import Reading
            from hffs.view.opening import find_or_decide, get_source
            from hffs.view.places import find_places
            from hffs.view.portable.recording import record_decided

            if choice.engine is EngineName.LOCAL:  # Ray looks for it
                do_without_pandas()
            with _writing(path):
                places = find_places(config, get_source(config, apart))
                with open_engine(choice) as engine:
                    decided = find_or_decide(config, places, apart, workers, engine)
                reading = Reading(reads, workers, apart)
                summary = record_decided(config, places, decided, file, reading)
            return json.dumps(asdict(summary)).encode()

        recorded: dict[str, Any] = json.loads(ask_child(config, work))
    return recorded


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("cannot write the view to", str(path), why=why) from error

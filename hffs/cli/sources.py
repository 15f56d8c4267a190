"""What a command is asked to look at: a data set, a config file, or a view that was recorded.

Owns telling a view file from a data set, wherever one may be named. What it says of its view goes
under the flags of the host that it is opened on, and what a recipe adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from hffs.cli.commands import Argument, Option
from hffs.cli.flags import Flags
from hffs.config import (
    RECIPES,
    Chosen,
    Config,
    apply_recipe,
    build_config,
    build_configs,
)
from hffs.config.recorded import restore_config
from hffs.data.viewfile.header import is_view, read_header
from hffs.errors import ConfigError

_SOURCE = "dataset_name"

Source = Annotated[
    str,
    Argument(
        metavar="SOURCE|CONFIG",
        help="Data set (a path, owner/name or an address), or a config file.",
    ),
]
"""The argument of a command that decides a view."""

Entry = Annotated[str | None, Option(metavar="ID", help="Which entry of a config file.")]
"""The option that chooses from a config file."""

Trainer = Annotated[
    str | None,
    Option(
        "--for",
        metavar="TRAINER",
        help=f"Give the folder what a trainer needs ({', '.join(RECIPES)}); other flags win.",
    ),
]
"""The option that names a recipe."""


def choose_configs(
    source: str,
    flags: Flags,
    entry: str | None,
    environ: Mapping[str, str],
    trainer: str | None = None,
) -> Chosen:
    """The configurations that a command means, as `build_configs` has them, views expanded.

    Beside a view, `--dataset-name` says where its source is here; what a trainer needs is filled in
    where it was not given. Raises ConfigError, and FormatError for a view file that is damaged.
    """
    chosen = _choose(_Asked(source, entry, environ, folders=False), flags)
    if trainer is None:
        return chosen
    return replace(chosen, configs=tuple(apply_recipe(each, trainer) for each in chosen.configs))


def choose_entries(
    source: str, flags: Flags, entry: str | None, environ: Mapping[str, str]
) -> Chosen:
    """As `choose_configs`, with the entries of a file that are folders already."""
    return _choose(_Asked(source, entry, environ, folders=True), flags)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a command was given besides flags."""

    source: str
    entry: str | None
    environ: Mapping[str, str]
    folders: bool

    def build(self, flags: Flags) -> Chosen:
        return build_configs(self.source, flags, self.entry, self.environ, folders=self.folders)


def _choose(asked: _Asked, flags: Flags) -> Chosen:
    """Where views are meant, `--dataset-name` is no other source, but where theirs is."""
    place = None
    chosen = _build_without_place(asked, flags) if _SOURCE in flags else None
    if chosen is None:
        chosen = asked.build(flags)
    else:
        named = str(flags[_SOURCE])
        place = build_config(named, {}, None, asked.environ).dataset_name  # made absolute
    return replace(chosen, configs=tuple(_expand(each, place) for each in chosen.configs))


def _build_without_place(asked: _Asked, flags: Flags) -> Chosen | None:
    """Configurations without the flag that names their source; None unless they are of views."""
    others = {name: value for name, value in flags.items() if name != _SOURCE}
    try:
        chosen = asked.build(others)
    except ConfigError:  # an entry may have no source of its own
        return None
    are_views = [is_view(Path(config.dataset_name)) for config in chosen.configs]
    return chosen if all(are_views) else None


def _expand(config: Config, place: str | None) -> Config:
    """The configuration of a view file that stands in the place of a source, else itself."""
    if config.type == "local":
        return config
    found = read_header(Path(config.dataset_name))
    return config if found is None else restore_config(found[0].config, config, place, found[1])

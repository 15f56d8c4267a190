"""What a command is asked to look at: a data set, a config file, or a view that was recorded.

Owns telling a view file from a data set, wherever one may be named. What it says of its view goes
under the flags of the host that it is opened on, and what a recipe adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hffs.cli.flags import Flags
from hffs.config import (
    RECIPES,
    Chosen,
    Config,
    apply_recipe,
    build_config,
    build_configs,
)
from hffs.config.recorded import RecordedConfig, restore_config
from hffs.data.viewfile.header import Header, looks_like_view, read_header

_SOURCE = "dataset_name"

Trainer = Annotated[
    str | None,
    typer.Option(
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
    chosen = _choose(source, flags, entry, environ)
    if trainer is None:
        return chosen
    return replace(chosen, configs=tuple(apply_recipe(each, trainer) for each in chosen.configs))


def _choose(source: str, flags: Flags, entry: str | None, environ: Mapping[str, str]) -> Chosen:
    found = _find_view(source)
    if found is None:
        chosen = build_configs(source, flags, entry, environ)
        return replace(chosen, configs=tuple(map(_expand, chosen.configs)))
    given = build_config(source, {k: v for k, v in flags.items() if k != _SOURCE}, entry, environ)
    place = None
    if _SOURCE in flags:  # made absolute as any source is
        place = build_config(str(flags[_SOURCE]), {}, None, environ).dataset_name
    return Chosen((_restore(found, given, place),))


def _expand(config: Config) -> Config:
    """The configuration of a view file that stands in the place of a source, else itself."""
    found = _find_view(config.dataset_name)
    return config if found is None else _restore(found, config, None)


def _find_view(name: str) -> tuple[Header, str] | None:
    return read_header(Path(name)) if looks_like_view(name) else None


def _restore(found: tuple[Header, str], given: Config, place: str | None) -> RecordedConfig:
    header, seal = found
    return restore_config(header.config, given, place, seal)

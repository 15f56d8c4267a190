"""Where the images of each entry are: in a folder of its own, in a mount, or in one made meanwhile.

Owns which entries are meant, telling their folders apart, and what is refused before anything is
scanned. Must not know what is done with a folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from hffs.cli.commands import Argument, Option
from hffs.cli.flags import Flags
from hffs.cli.mounting import mounting
from hffs.cli.sources import choose_entries
from hffs.cli.untrusted import clean_line
from hffs.config import (
    Chosen,
    Config,
    build_folder,
    find_idle_keys_of_folder,
    find_mount_folder,
    has_several_mounts,
)
from hffs.config.files import is_config_file
from hffs.errors import DataError, UsageError

FolderSource = Annotated[
    str,
    Argument(
        metavar="FOLDER|CONFIG",
        help="A folder of images, a mount or not, or a config file; also a data set, which is "
        "mounted meanwhile.",
    ),
]
"""The argument of a command that works on images of folders."""

MountedAt = Annotated[
    Path | None,
    Option(
        metavar="MOUNTPOINT",
        help="Where the data sets of the config file are mounted; else they are mounted meanwhile.",
    ),
]
"""The option that says where data sets are."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of an entry are now, and where they stay: "" where that is not known."""

    now: Path
    stays: str


@dataclass(frozen=True, slots=True)
class Mounted:
    """Where data sets are mounted: each in the folder of its id, or one of them on all of it."""

    place: Path
    several: bool

    def find(self, config: Config) -> Path:
        """Where the files of an entry are."""
        return find_mount_folder(config, self.place, several=self.several)


def choose_images(source: str, flags: Flags, entry: str | None) -> Chosen:
    """The entries whose images are planned, in their order; those that are not are told of."""
    if os.path.isdir(source):
        if entry is not None:
            raise UsageError("cannot use", f"--entry {entry}", why=f"{source} is a folder")
        return Chosen((build_folder(source, flags, os.environ),))
    chosen = choose_entries(source, flags, entry, os.environ)
    images = tuple(config for config in chosen.configs if config.dataset_type == "image")
    others = (
        f"{config.id} (its dataset_type is {config.dataset_type})"
        for config in chosen.configs
        if config.dataset_type != "image"
    )
    skipped = (*chosen.skipped, *others)
    if not images:
        why = f"only images have buckets: {', '.join(skipped)}"
        raise UsageError("cannot plan", source, why=why)
    if skipped:
        print(f"hffs: not planned: {', '.join(skipped)}", file=sys.stderr)
    for config in images:
        if config.type == "local":
            for line in find_idle_keys_of_folder(config):
                print(f"hffs: {clean_line(line)}", file=sys.stderr)
    return replace(chosen, configs=images, skipped=())


def check_mounted(source: str, chosen: Chosen, mounted: Path) -> Mounted:
    """What a user means by a mount point; UsageError where the entries' files are not there."""
    if all(config.type == "local" for config in chosen.configs):
        why = "nothing is planned that would be mounted"
        raise UsageError("cannot use --mounted", str(mounted), why=why, fix="leave it out")
    several = is_config_file(source) and has_several_mounts(Path(source))
    found = Mounted(mounted.absolute(), several)
    for config in chosen.configs:
        if config.type != "local" and not found.find(config).is_dir():
            why = f"there is no folder {found.find(config)}"
            fix = f"mount it: hffs mount {source} {mounted}"
            raise UsageError("cannot use --mounted", str(mounted), why=why, fix=fix)
    return found


def check_beside(chosen: Chosen, mounted: Mounted | None) -> None:
    """Refuse before anything is scanned what could not be written then."""
    for config in chosen.configs:
        folder = config.instance_data_dir if config.type == "local" else None
        if config.type != "local" and mounted is not None:
            folder = mounted.find(config)
        if folder is None:
            why, fix = "it is mounted only meanwhile", "mount it, and say where: --mounted"
            raise UsageError("cannot write beside the images of", config.id, why=why, fix=fix)
        if not os.access(folder, os.W_OK):
            why, fix = "it cannot be written to", "mount with --scratch DIR, or leave --beside out"
            raise DataError("cannot write into", str(folder), why=why, fix=fix)


@contextmanager
def finding_folders(
    configs: Sequence[Config], mounted: Mounted | None
) -> Iterator[Mapping[str, Folder]]:
    """Where the files of each entry are; what is not mounted is, to the end of the block."""
    folders = {
        config.id: Folder(config.instance_data_dir, str(config.instance_data_dir))
        for config in configs
        if config.type == "local" and config.instance_data_dir is not None
    }
    sets = [config for config in configs if config.type != "local"]
    if mounted is not None:
        found = {config.id: mounted.find(config) for config in sets}
        folders |= {name: Folder(place, str(place)) for name, place in found.items()}
    elif sets:
        with mounting(sets) as places:
            for config in sets:
                later = config.instance_data_dir
                folders[config.id] = Folder(places[config.id], str(later or ""))
            yield folders
        return
    yield folders

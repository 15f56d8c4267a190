"""`hffs umount`: take a mount down, or all those of a config file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from hffs.cli.commands import Argument, Option


def umount(
    mountpoint: Annotated[Path, Argument(help="Folder that hffs is mounted on, or in.")],
    force: Annotated[
        bool, Option("--force", help="Cut off who still uses it; kill a daemon that hangs.")
    ] = False,
) -> None:
    """Unmount, and wait until the daemons have ended."""
    from hffs.mount.registry import find_registry
    from hffs.mount.unmounting import unmount

    unmount(mountpoint, find_registry(os.environ), force=force)

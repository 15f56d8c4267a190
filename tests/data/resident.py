"""What of a file counts as memory of this process."""

from __future__ import annotations

from pathlib import Path


def count_resident(path: Path) -> int:
    """Bytes of a file that are mapped by this process and count as its own use."""
    told, is_of_file = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            is_of_file = line.endswith(str(path))
        elif is_of_file and line.startswith("Rss:"):
            told += int(line.split()[1]) * 1024
    return told

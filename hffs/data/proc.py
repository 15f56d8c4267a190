"""What the kernel tells of a process in /proc, as it is written there (proc(5))."""

from __future__ import annotations

from pathlib import Path

OWN_STATUS = Path("/proc/self/status")


def read_status(file: Path = OWN_STATUS) -> dict[str, list[str]]:
    """The words of each field of /proc/PID/status; none of a process that has ended."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def read_stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, the third; None if it has ended."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; the state follows it (proc_pid_stat(5)).
    return line.rpartition(")")[2].split()

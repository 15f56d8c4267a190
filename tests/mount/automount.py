"""What systemd does for `x-systemd.automount`: run a command for the first who opens a folder.

`python -m tests.mount.automount FOLDER COMMAND...`, in a mount namespace of its own, prints what a
process of another group then sees in the folder (autofs(5) has the protocol).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import sys

_IOC_READY, _IOC_FAIL = 0x9360, 0x9361  # linux/auto_fs.h
_PACKET_BYTES, _TOKEN_AT = 304, 8


def main(folder: str, command: list[str]) -> int:
    """Trap the folder, open it from elsewhere, mount on it, let the other go on."""
    reading, writing = os.pipe()
    trap = f"fd={writing},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"test", os.fsencode(folder), b"autofs", 0, trap.encode()) != 0:
        raise OSError(ctypes.get_errno(), "cannot mount autofs")
    root = os.open(folder, os.O_RDONLY)
    visitor = subprocess.Popen(["ls", folder], start_new_session=True, close_fds=True)
    packet = os.read(reading, _PACKET_BYTES)
    (token,) = struct.unpack_from("I", packet, _TOKEN_AT)
    done = subprocess.run(command, check=False)
    fcntl.ioctl(root, _IOC_FAIL if done.returncode else _IOC_READY, token)
    return visitor.wait() or done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

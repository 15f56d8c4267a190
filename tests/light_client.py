"""Runs a command of hffs by the process that `tests.preloaded` forks of, with its own streams.

A script, for shells: python -I -S light_client.py NAME ARGUMENT...; it imports nothing of hffs.
"""

import json
import os
import socket
import sys


def main() -> int:
    """Ask, and wait for the exit code."""
    name, *arguments = sys.argv[1:]
    environ = {key: value for key, value in os.environ.items() if key != "LC_ALL"}
    asked = json.dumps({"arguments": arguments, "environ": environ, "folder": os.getcwd()})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect("\0" + name)
        socket.send_fds(channel, [asked.encode()], [0, 1, 2])
        return int(channel.recv(64) or b"-9") & 0xFF


if __name__ == "__main__":
    sys.exit(main())

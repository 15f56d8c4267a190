"""How long each phase of a mount's life may take, and how many processes it may have; all of it in
one place, told in operations.md.

Deciding a view has no limit: it takes what the data set takes, shows progress, and may be
interrupted.
"""

from __future__ import annotations

from hffs.data.tally import MOST_PROCESSES

START_S = 30.0
"""From the handshake with the kernel to the first stat that is answered."""

DRAIN_S = 3.0
"""What requests under way get once a mount was told to stop."""

WIND_DOWN_S = 12.0
"""What comes after: detaching, pools of threads, files. Then the last resort ends the daemon."""

ABORT_S = 3.0
"""What the last resort itself may take, and what it is given by who waits for it."""

DETACH_S = 10.0
"""One run of umount or fusermount3."""

BUSY_S = 1.0
"""How long `hffs umount` tries a mount that is in use: who only looks at it (`hffs ls`, `df`, a
desktop) is gone by then.
"""

END_S = 20.0
"""What `hffs umount` waits for a daemon; longer than the daemon gives itself."""

KILL_AFTER_S = 5.0
"""When `hffs umount --force` kills a daemon that goes on; more than `DRAIN_S`."""

DEFAULT_SIBLINGS, MOST_SIBLINGS = 4, MOST_PROCESSES - 1
"""Processes that answer beside the daemon, by itself and at most."""

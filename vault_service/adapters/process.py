"""What the operating system is told before the first secret is read.

No core dumps and no attaching by processes of the same user (prctl(2) PR_SET_DUMPABLE): memory
holds DEKs and tokens. Root on the host is stronger than this, and the threat model says so.
"""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def harden() -> bool:
    """Returns whether the process is now undumpable (False off Linux)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)

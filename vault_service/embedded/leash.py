"""Becomes another program that ends when its parent does: Linux's PR_SET_PDEATHSIG.

Run as a file by ``child.py``, never imported: the work stands between fork and exec, where code
of a process with threads must not run. Arguments: death signal, parent's pid, uid, gid (-1 and
-1: stay who we are), then the program and its arguments.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Change the user, tie our life to the parent's, and become the program."""
    death_signal, parent, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    try:
        os.umask(0o077)
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # After the change of user, which would clear it.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl refused PR_SET_PDEATHSIG")
        # The parent may have died before the line above.
        if os.getppid() != parent:
            raise SystemExit(1)
        os.execv(program[0], program)  # noqa: S606 - an argument list of our own, no shell
    except OSError as error:
        print(f"cannot run {program[0]}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(127) from None


if __name__ == "__main__":
    main(sys.argv[1:])

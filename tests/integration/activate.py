"""Runs a program with listening sockets as systemd does: ``activate.py NAME=FD… -- PROGRAM…``."""

import os
import sys

FIRST = 3


def main() -> None:
    end = sys.argv.index("--")
    passed = [argument.rpartition("=") for argument in sys.argv[1:end]]
    # Out of each other's way first.
    moved = [os.dup(int(number)) for _, _, number in passed]
    above = [os.dup2(each, 100 + index) for index, each in enumerate(moved)]
    for index, each in enumerate(above):
        os.dup2(each, FIRST + index, inheritable=True)
        os.close(each)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(passed))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for name, _, _ in passed)
    program = sys.argv[end + 1 :]
    os.execv(program[0], program)


main()

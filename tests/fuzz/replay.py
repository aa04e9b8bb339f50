"""One input again: ``python -m tests.fuzz.replay TARGET FILE...``."""

import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS


def main() -> None:
    name, *files = sys.argv[1:]
    for file in files:
        print(file)
        TARGETS[name](Path(file).read_bytes())


if __name__ == "__main__":
    main()

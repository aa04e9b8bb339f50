"""Atheris on one target: ``python -m tests.fuzz.coverage_guided TARGET [libFuzzer's arguments]``.

The first arguments of libFuzzer are directories of inputs; what is new is written into the first.
An input that fails is written to a file, whose name is told, and ends the run.
"""

import sys

import atheris


def main() -> None:
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["portal_gateway", "h2", "hpack", "autobahn"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]

    def run(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

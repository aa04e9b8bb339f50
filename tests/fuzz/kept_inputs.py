"""The inputs that are kept, and what runs a target so that a failing input is saved."""

import hashlib
import os
from pathlib import Path

from tests.fuzz.targets import TARGETS

__all__ = ["CORPUS", "FAILED", "kept", "run"]

CORPUS = Path(__file__).parent / "corpus"

FAILED = Path(
    os.environ.get("PORTAL_GATEWAY_FUZZ_FAILED", Path(__file__).parents[2] / "build" / "fuzz")
)
"""Where an input that fails is written."""


def kept(name: str) -> list[Path]:
    """The inputs of a target, in a fixed order."""
    return sorted((CORPUS / name).glob("*"))


def run(name: str, data: bytes) -> None:
    """Run a target; an input that fails is saved as a file, and the error says which."""
    try:
        TARGETS[name](data)
    except Exception as error:
        FAILED.mkdir(parents=True, exist_ok=True)
        file = FAILED / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
        file.write_bytes(data)
        error.add_note(f"the input is in {file}; python -m tests.fuzz.replay {name} {file}")
        raise

"""Takes out of a directory of installed packages what the gateway never imports.

Run by the Dockerfile as ``python slim.py SITE_PACKAGES``; it prints the bytes before and after. An
image would have every package whole; Twisted's mail server, SQLAlchemy's tests and a compiler
for FlatBuffers are two thirds of what is used. ``tests/integration/test_image.py`` imports each of
our modules from what is left.
"""

import shutil
import subprocess
import sys
from pathlib import Path

UNUSED = (
    # Tests that libraries install.
    "*/test",
    "*/tests",
    "*/*/test",
    "*/*/tests",
    "*/*/*/tests",
    "sqlalchemy/testing",
    "alembic/testing",
    # Twisted's own other servers, and their plugins for twistd.
    "twisted/conch",
    "twisted/mail",
    "twisted/names",
    "twisted/pair",
    "twisted/positioning",
    "twisted/trial",
    "twisted/words",
    "twisted/plugins/twisted_conch.py",
    "twisted/plugins/twisted_mail.py",
    "twisted/plugins/twisted_names.py",
    "twisted/plugins/twisted_trial.py",
    "twisted/plugins/twisted_words.py",
    # Databases that the gateway does not know.
    "sqlalchemy/dialects/mssql",
    "sqlalchemy/dialects/mysql",
    "sqlalchemy/dialects/oracle",
    # autobahn brings a compiler of FlatBuffers, and a fast JSON for WAMP; each with a libstdc++.
    "autobahn/_flatc",
    "autobahn.libs",
    "ujson.libs",
    "ujson.*.so",
    "ujson-stubs",
    # What a library is checked with, or built from. (autobahn reads its .c files.)
    "**/*.pxd",
    "**/*.pyi",
    "**/*.pyx",
)
"""Patterns of what goes, below the directory."""


def size_of(directory: Path) -> int:
    """The bytes of all files below ``directory``."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def slim(directory: Path, strip: str = "strip") -> None:
    """Remove what is `UNUSED`, and with the program ``strip`` the symbols of extension modules."""
    for pattern in UNUSED:
        for path in sorted(directory.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    # What is in a .libs directory was rewritten by auditwheel; strip is not sure to leave it whole.
    modules = [path for path in directory.rglob("*.so") if not path.parent.name.endswith(".libs")]
    if modules:
        subprocess.run([strip, "--strip-unneeded", *modules], check=True)


def main() -> None:
    """Slim the directory that the command line names."""
    directory = Path(sys.argv[1])
    before = size_of(directory)
    slim(directory)
    sys.stdout.write(f"{directory}: {before:,} bytes, {size_of(directory):,} of them used\n")


if __name__ == "__main__":
    main()

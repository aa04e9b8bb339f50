"""Prints docs/modules.rst: every module with the first sentence of its docstring.

``make modules`` writes the page; a test compares it with the tree.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "portal_gateway"

HEAD = """\
The modules
===========

Every module and what it is, from its own first sentence. Which may import which stands in
`architecture.rst <architecture.rst>`_. This page is written by ``make modules``.
"""


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    paragraph = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"``\1``", paragraph)
    return re.split(r"(?<=[.:])\s+(?=[A-Z`]|$)", paragraph)[0].rstrip(":.").replace("*", "\\*")


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    packages = sorted({path.parent for path in ROOT.rglob("*.py")})
    for package in packages:
        name = "portal_gateway" + "".join(f"/{part}" for part in package.relative_to(ROOT).parts)
        title = f"{name}/"
        lines += [title, "-" * len(title), ""]
        about = sentence(package / "__init__.py")
        lines += [f"{about}.", ""]
        for path in sorted(package.glob("*.py")):
            if path.name not in {"__init__.py", "portal_pb2.py"}:
                lines += [f"``{path.name}``", f"    {sentence(path)}.", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

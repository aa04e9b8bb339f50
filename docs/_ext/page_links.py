"""Links from page to page, written so that they lead somewhere in the repository too.

A page is linked to by its file, as in ```errors.rst <errors.rst>`_``, with ``#`` and the id of a
section behind it where that is meant. In HTML it becomes a link to the page made of that file, with
the page's title where the text is the file's name. A file that no page is made of, and a section
that is not there, is a warning, which ends ``make docs``.
"""

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

_log = logging.getLogger(__name__)

_PAGE = re.compile(r"(?P<file>[^:#?]+\.rst)(?:#(?P<section>.+))?")

INCLUDED = {
    "CHANGELOG.rst": "changelog",
    "CONTRIBUTING.rst": "contributing",
    "README.rst": "index",
    "deploy/README.rst": "containers",
    "systemd/README.rst": "systemd",
}
"""Files outside the directory of pages, by the page that shows each or stands for it."""


def _page(app: Sphinx, file: Path) -> str | None:
    """The page that is made of ``file``, or shows it."""
    root = Path(app.srcdir).resolve()
    if file.is_relative_to(root):
        found = file.relative_to(root).with_suffix("").as_posix()
    else:
        found = INCLUDED.get(os.path.relpath(file, root.parent), "")
    return found if found in app.env.found_docs else None


def _source(node: nodes.Node) -> Path:
    """The file that a node was written in, which may be included by its page."""
    while node is not None and not node.source:
        node = node.parent
    return Path(node.source).resolve()


def _has_section(app: Sphinx, page: str, section: str) -> bool:
    tree = app.env.get_doctree(page)
    return any(section in node["ids"] for node in tree.findall(nodes.Element))


def _resolve(app: Sphinx, tree: nodes.document, page: str) -> None:
    for node in tree.findall(nodes.reference):
        match = _PAGE.fullmatch(node.get("refuri", ""))
        if match is None:
            continue
        file, section = match["file"], match["section"]
        target = _page(app, (_source(node).parent / file).resolve())
        if target is None:
            _log.warning("no page is made of %s", file, location=node)
            continue
        uri = app.builder.get_relative_uri(page, target)
        if section is not None:
            if not _has_section(app, target, section):
                _log.warning("%s has no section %s", file, section, location=node)
            uri += f"#{section}"
        if node.astext() == file:
            node.children = [nodes.Text(app.env.titles[target].astext())]
        node["refuri"] = uri
        node["internal"] = True


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("doctree-resolved", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

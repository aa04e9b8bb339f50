"""Links from page to page, by the files that pages are made of."""

import re
import subprocess
import sys
from pathlib import Path

EXTENSION = Path(__file__).parents[2] / "docs" / "_ext"

FILES = {
    "README.rst": "Whole\n=====\n\nNot a page, but the first one stands for it.\n",
    "CHANGELOG.rst": "Changes\n=======\n\n`All <README.rst>`_, `first <docs/index.rst>`_.\n",
    "docs/conf.py": f"import sys\nsys.path.insert(0, {str(EXTENSION)!r})\n"
    "extensions = ['page_links']\n",
    "docs/index.rst": "First\n=====\n\n`changelog.rst <changelog.rst>`_\n\n"
    ".. toctree::\n\n   changelog\n   more/second\n   broken\n",
    "docs/changelog.rst": ".. include:: ../CHANGELOG.rst\n",
    "docs/more/second.rst": "Second\n======\n\n`First <../index.rst>`_,"
    " `changes <../../CHANGELOG.rst>`_, `here <second.rst#a-part-of-it>`_,\n`away <https://example.com/page.rst>`_.\n\n"
    "A part of it\n------------\n\nIt.\n",
    "docs/broken.rst": "Broken\n======\n\n`None <nothing.rst>`_ and"
    " `no part <more/second.rst#nothing>`_.\n",
}


def build(directory):
    for name, text in FILES.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    html = directory / "html"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-N", "-b", "html", directory / "docs", html],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return html, done.stderr


def links(page):
    text = page.read_text(encoding="utf-8")
    body = text[text.index('<div class="body"') : text.index('<div class="sphinxsidebar"')]
    return re.findall(r'class="reference (\w+)" href="([^"#]*(?:#[^"]*)?)"', body)


def test_links_by_file_lead_to_pages_and_those_that_lead_nowhere_are_told(tmp_path):
    html, told = build(tmp_path)
    assert links(html / "more" / "second.html") == [
        ("internal", "../index.html"),
        ("internal", "../changelog.html"),
        ("internal", "#a-part-of-it"),
        ("external", "https://example.com/page.rst"),
    ]
    # What is included has its links from where it lies.
    assert links(html / "changelog.html") == [("internal", "index.html")] * 2
    assert [line.partition("broken.rst:")[2] for line in told.splitlines()] == [
        "4: WARNING: no page is made of nothing.rst",
        "4: WARNING: more/second.rst has no section nothing",
    ]
    # The name of a file is for who reads files.
    assert '<a class="reference internal" href="changelog.html">Changes</a>' in (
        html / "index.html"
    ).read_text(encoding="utf-8")

"""How Sphinx builds these pages: ``make docs``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

from portal_gateway import __version__  # noqa: E402 - the path is set above

project = "Portal Gateway"
author = "The Portal Gateway developers"
project_copyright = f"2026, {author}"
version = release = __version__

extensions = ["page_links"]
exclude_patterns = ["_ext"]
highlight_language = "text"
smartquotes = False  # commands and configuration are to be pasted as they stand

html_theme = "furo"
html_title = f"Portal Gateway {__version__}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False

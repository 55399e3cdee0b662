"""How Sphinx makes a site of these pages: `make docs`."""

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

from retrieve import VERSION

project = "retrieve"
author = copyright = "the retrieve developers"
release = VERSION
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
# A heading is an anchor, by the name that GitHub gives it. Links to it are checked, too.
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"retrieve {VERSION}"
html_show_sphinx = False
html_copy_source = False
lexers["crontab"] = TextLexer()
pygments_dark_style = "github-dark"

"""How the documentation is built: ``python -m sphinx -W -b html docs docs/_build/html``, without a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from flask_archie_keys._version import __version__  # noqa: E402 - found through the path set above

project = "flask_archie_keys"
author = "The flask_archie_keys maintainers"
copyright = f"2026 {author}"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "archie_reference", "archie_rest"]
exclude_patterns = ["_build", "figures.rst"]  # figures.rst is included by benchmarks.rst
highlight_language = "python"
smartquotes = False
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!flask_archie_keys\.).*")]  # of others: only with intersphinx

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"flask_archie_keys {release}"
html_copy_source = False

# Links into the documentation of others need a network, so they are asked for.
if os.environ.get("ARCHIE_DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "flask": ("https://flask.palletsprojects.com/en/stable", None),
        "sqlalchemy": ("https://docs.sqlalchemy.org/en/20", None),
    }

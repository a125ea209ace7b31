"""The page's own script: the files of scripts/ as they stand, and the hash by which the page's policy lets it run.

No other script runs on the page: what a user's data say is text, and stays text even where escaping would fail.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from markupsafe import Markup

FOLDER = Path(__file__).with_name("scripts")


@cache
def text() -> Markup:
    """All files, each in a scope of its own, in the order of their names."""
    parts = [path.read_text(encoding="utf-8").strip() for path in sorted(FOLDER.glob("*.js"))]
    return Markup('"use strict";\n' + "\n".join(f"{{\n{part}\n}}" for part in parts))


@cache
def policy() -> str:
    """The content policy: nothing is loaded, and only this script runs (Content Security Policy Level 3)."""
    digest = base64.b64encode(hashlib.sha256(text().encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"

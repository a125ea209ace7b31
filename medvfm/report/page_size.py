"""A page that opens quickly: pictures give way where it would grow too large, and a sentence stands in their place."""

from __future__ import annotations

import re

AIM = 3_000_000  # letters
PICTURE = re.compile(r'<img src="data:image/[^"]*"[^>]*>')
INSTEAD = (
    '<span class="fine">A picture was left out to keep this page small; previews/ in the run directory has it.</span>'
)


def within(page: str, aim: int = AIM) -> str:
    """The page without as many of its last pictures as it takes; those that come first matter most."""
    pictures = list(PICTURE.finditer(page))
    size = len(page)
    while size > aim and pictures:
        last = pictures.pop()
        page = page[: last.start()] + INSTEAD + page[last.end() :]
        size = len(page)
    return page

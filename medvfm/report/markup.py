"""Templates to HTML. Autoescape is on, and what comes from a record never passes as markup."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from medvfm.report import text

FOLDER = Path(__file__).with_name("templates")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")  # what neither HTML nor XML may hold


@cache
def environment() -> jinja2.Environment:
    """Missing keys are empty: a record may lack any part. Names that a section passes are checked by the tests."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: CONTROL.sub("", value) if type(value) is str else value,
    )
    made.filters |= {
        "metric": text.metric,
        "quantity": text.quantity,
        "structure": text.structure,
        "variant": text.variant,
        "title_case": text.title,
        "number": text.number,
        "value": text.value,
        "compact": text.compact,
        "count": text.count,
        "interval": text.interval,
        "level": text.level,
        "listed": text.listed,
        "seconds": text.seconds,
    }
    return made


def fragment(template: str, **values: Any) -> Markup:
    """A piece of the page."""
    return Markup(environment().get_template(f"{template}.html.j2").render(values).strip())

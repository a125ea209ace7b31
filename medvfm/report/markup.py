"""Templates to HTML. Autoescape is on, and what comes from a record never passes as markup."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from medvfm.report import text as words

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
        "metric": words.metric,
        "quantity": words.quantity,
        "structure": words.structure,
        "variant": words.variant,
        "title_case": words.title,
        "baseline": words.baseline,
        "number": words.number,
        "value": words.value,
        "compact": words.compact,
        "count": words.count,
        "interval": words.interval,
        "level": words.level,
        "listed": words.listed,
        "seconds": words.seconds,
    }
    return made


def fragment(template: str, **values: Any) -> Markup:
    """A piece of the page."""
    return Markup(environment().get_template(f"{template}.html.j2").render(values).strip())

"""report.html: one file that needs no network, a pure function of the run directory."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from medvfm.io import run_directory
from medvfm.report.run import Run, interval, metric_name, number
from medvfm.report.sections import (
    answer,
    baselines,
    calibration,
    curves,
    data,
    methods,
    mistakes,
    model,
    numbers,
    operating,
    setting,
    subgroups,
)

# In the order of the page. A section is a file with `TITLE` and `content(run)`: what its template takes, or None where
# the run has nothing of the kind.
SECTIONS = (numbers, curves, calibration, operating, baselines, subgroups, mistakes, data, model, methods, setting)


def render(directory: Path) -> Path:
    """Write report.html into the run directory and return its path."""
    run = Run(directory)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "interval": interval, "metric": metric_name}
    parts = []
    for section in SECTIONS:
        content = section.content(run)
        if content is not None:
            name = section.__name__.rpartition(".")[2]
            body = environment.get_template(f"{name}.html.j2").render(run=run, **content)
            parts.append({"id": name, "title": section.TITLE, "body": Markup(body)})
    page = environment.get_template("page.html.j2").render(run=run, parts=parts, **answer.content(run))
    path = directory / "report.html"
    run_directory.write_text(path, page)
    return path

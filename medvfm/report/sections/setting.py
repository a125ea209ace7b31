"""Where it ran, and the recipe as run."""

from __future__ import annotations

from typing import Any

import yaml

from medvfm.report.run import Run

TITLE = "Environment and recipe"


def content(run: Run) -> dict[str, Any] | None:
    recipe = run.part("recipe")
    return {
        "environment": run.part("environment") or {},
        "seconds": run.part("seconds") or {},
        "recipe": yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100) if recipe else None,
    }

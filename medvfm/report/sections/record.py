"""Environment, times and the recipe as run."""

from __future__ import annotations

from typing import Any

import yaml
from markupsafe import Markup

from medvfm.report import markup
from medvfm.report.run_view import View

TITLE = "Environment and recipe"


def build(view: View) -> Markup | None:
    environment, recipe = view.part("environment"), view.part("recipe")
    packages = environment.get("packages") or {}
    facts = [(k, environment[k]) for k in ("python", "torch", "device", "platform") if environment.get(k)]
    if not facts and not recipe:
        return None
    times = view.part("seconds")
    return markup.fragment(
        "record",
        facts=facts,
        packages=[(n, v) for n, v in packages.items() if v != "not installed"],
        steps=[(n, t) for n, t in times.items() if n != "total"],
        total=times.get("total"),
        expected=view.record.get("expected_seconds"),
        recipe=_yaml(recipe),
        hash=view.record.get("hash"),
    )


def _yaml(recipe: dict[str, Any]) -> str:
    """Without nulls, which are defaults, and without the folder of the data, which may name people."""
    if not recipe:
        return ""
    data = {k: v for k, v in (recipe.get("data") or {}).items() if k != "root"}
    return yaml.safe_dump(
        _pruned({**recipe, "data": data}), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
    )


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {k: _pruned(v) for k, v in value.items()}
        return {k: v for k, v in inner.items() if v is not None and v != {} and v != []}
    return [_pruned(v) for v in value] if isinstance(value, list) else value

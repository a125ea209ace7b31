"""What the model was surest of and wrong about."""

from __future__ import annotations

from typing import Any

from medvfm.report.run import Run

TITLE = "Most confident mistakes"


def content(run: Run) -> dict[str, Any] | None:
    shown = [{**p, "uri": run.picture(p["file"])} for p in run.part("previews") or []]
    shown = [p for p in shown if p["uri"]]
    return {"shown": shown} if shown else None

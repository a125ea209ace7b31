"""Degraded, restored and true images side by side: some drawn by chance, and those with a lesion erased or invented."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from medvfm.report import data_uris, markup, text
from medvfm.report.run_view import View

TITLE = "Restored images"


def build(view: View) -> Markup | None:
    found = view.part("restoration")
    shown = [case for entry in found.get("shown") or [] if (case := _case(view, entry)) is not None]
    if not shown:
        return None
    return markup.fragment(
        "restored_images",
        cases=shown,
        degradation=found.get("degradation") or "",
        gain=text.compact(float(found.get("gain") or 1)),
        lesion=_lesion(found.get("usual_lesion") or {}),
    )


def _lesion(usual: dict[str, Any]) -> dict[str, str]:
    if not usual:
        return {}
    contrast = float(usual["contrast"])
    return {
        "lesions": text.plural(int(usual["lesions"]), "lesion"),
        "contrast": text.number(abs(contrast), 3),
        "than": "darker" if contrast > 0 else "brighter",
        "least_px": str(usual["least_px"]),
    }


def _case(view: View, entry: dict[str, Any]) -> dict[str, str] | None:
    found = data_uris.read(view.directory, str(entry.get("file") or ""))
    if found is None:
        return None
    psnr = entry.get("psnr")
    return {"uri": found.uri, "why": str(entry.get("why")), "psnr": "" if psnr is None else f"{psnr:.1f} dB"}

"""Pictures of cases of a data set, with their masks outlined."""

from __future__ import annotations

from markupsafe import Markup

from medvfm.report import data_uris, markup
from medvfm.report.run_view import View

TITLE = "Samples"


def build(view: View) -> Markup | None:
    found = []
    for entry in view.record.get("samples") or []:
        picture = data_uris.read(view.directory, str(entry.get("file") or ""))
        if picture is not None:
            caption = str(entry.get("caption") or "")
            found.append({"uri": picture.uri, "caption": caption, "planes": picture.is_planes})
    if not found:
        return None
    planes, masks = any(e["planes"] for e in found), (view.part("truth").get("masks") or 0) > 0
    return markup.fragment("samples", samples=found, planes=planes, masks=masks)

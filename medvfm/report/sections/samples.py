"""Pictures of cases of a data set, with their masks outlined."""

from __future__ import annotations

import base64
import struct

from markupsafe import Markup

from medvfm.report import markup
from medvfm.report.sections.mistakes import content
from medvfm.report.view import View

TITLE = "Samples"


def build(view: View) -> Markup | None:
    found = []
    for entry in view.record.get("samples") or []:
        picture = content(view.directory, str(entry.get("file") or ""))
        if picture is not None:
            width, height = struct.unpack(">II", picture[16:24])
            uri = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            found.append({"uri": uri, "caption": str(entry.get("caption") or ""), "wide": width > 1.5 * height})
    if not found:
        return None
    return markup.fragment(
        "samples", samples=found, wide=any(e["wide"] for e in found), masks=(view.part("truth").get("masks") or 0) > 0
    )

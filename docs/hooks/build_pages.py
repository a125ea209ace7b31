"""What mkdocs calls: pages of the reference are made from the code, and llms.txt and SKILL.md from all pages."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import code_pages
import gallery
import schema_pages
from mkdocs.structure.files import File, Files

PAGES = {
    "reference/recipe.md": schema_pages.recipe_keys,
    "reference/card.md": schema_pages.card_keys,
    "reference/adapters.md": schema_pages.adapters,
    "reference/tasks.md": schema_pages.tasks,
    "reference/metrics.md": schema_pages.metrics,
    "reference/names.md": schema_pages.names,
    "reference/shipped.md": schema_pages.shipped,
    "reference/commands.md": code_pages.commands,
    "reference/python.md": code_pages.python,
    "reference/files.md": code_pages.files,
    "reference/errors.md": code_pages.all_errors,
    "models.md": schema_pages.models,
}
SKILL = """---
name: medvfm
description: Adapt foundation models (DINOv2, SAM, CLIP, Stable Diffusion, LLaVA) to clinical images with one recipe, and evaluate honestly with intervals over patients. Use it for studies on DICOM, NIfTI or pictures with labels, masks or reports.
---
# medvfm

1. `medvfm init FOLDER` proposes card.yaml and recipe.yaml. If it exits 2 it says what is missing: never invent a patient column; ask the user.
2. `medvfm check recipe.yaml --ready` says what will be used and what it costs. Mend what it refuses: messages name file, line, key and the nearest valid name.
3. `medvfm run recipe.yaml --out DIR` writes run.json (rows with value, low, high, cases, patients, note) and report.html.
4. Report numbers with their intervals and counts, beside the baselines. Null is not 0: read `note`.
5. `medvfm evaluate TASK --truth T --predictions P --out DIR` scores the output of any other program.
6. Do not tune on test cases: override keys (`KEY=VALUE`) and look at `val` rows.

"""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and the reports of the gallery as they are."""
    for name in PAGES:
        files.append(File.generated(config, name, content=_made(name)))
    for name, page in _gallery().items():
        files.append(File.generated(config, f"gallery/{name}.html", content=page))
    return files


def on_post_build(config: Any) -> None:
    """llms.txt lists every page with its first sentence; SKILL.md says how to go about a study, and where to read."""
    site, docs = Path(config["site_dir"]), Path(config["docs_dir"])
    texts = {p.relative_to(docs).as_posix(): p.read_text(encoding="utf-8") for p in sorted(docs.rglob("*.md"))}
    texts |= {name: _made(name) for name in PAGES}
    listed = "\n".join(f"- [{_title(text)}]({_address(name)}): {_first(text)}" for name, text in sorted(texts.items()))
    head = f"# medvfm\n\n> {config['site_description']}\n\n"
    (site / "llms.txt").write_text(f"{head}## Pages\n\n{listed}\n", encoding="utf-8")
    (site / "SKILL.md").write_text(f"{SKILL}## Pages\n\n{listed}\n", encoding="utf-8")


@cache
def _made(name: str) -> str:
    return PAGES[name]()


@cache
def _gallery() -> dict[str, str]:
    return gallery.reports()


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")


def _address(name: str) -> str:
    return "index.html" if name == "index.md" else f"{name.removesuffix('.md')}/"


def _first(text: str) -> str:
    """The first sentence below the title."""
    body = next((part for part in text.split("\n\n")[1:] if part and part[0] not in "#|`-"), "")
    return re.split(r"(?<=[.:])\s", re.sub(r"\s+", " ", body))[0][:200]

"""Which questions the report shows, and their images."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from medvfm.core.protocols import Record, Seen
from medvfm.io.rendering import windowing
from medvfm.io.run_directory import write_bytes
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.tasks.per_case import PerCaseValues
from medvfm.tasks.small_pictures import square_png

MOST = 12  # questions with a picture
SIDE_PX = 160


def write(test: PerCaseValues, seen: Seen) -> Record:
    """Pictures under previews/, and what run.json says of them: questions by their place among the test cases."""
    found = []
    files: dict[str, str] = {}
    for place in chosen(test):
        case = seen.true.case(place)
        image = "|".join(map(str, case.files))
        if image and image not in files:
            files[image] = f"previews/{len(files):03d}.png"
            write_bytes(seen.folder / files[image], _png(place, seen))
        found.append({"place": place, **({"file": files[image]} if image else {})})
    return {"question_answering": {"asked": found}} if found else {}


def chosen(test: PerCaseValues) -> list[int]:
    """Places of questions of every type in turn, right and wrong ones of it in turn."""
    right = test.values.get("closed_accuracy", np.full((len(test.ids), 1), np.nan))[:, 0]
    exact = test.values.get("exact_match", np.zeros((len(test.ids), 1)))[:, 0]
    right = np.where(np.isnan(right), exact, right) > 0.5
    by_type: defaultdict[str, list[int]] = defaultdict(list)
    for kind in sorted(set(test.table["question_type"][:, 0])):
        mine = np.flatnonzero(test.table["question_type"][:, 0] == kind)
        good, bad = mine[right[mine]], mine[~right[mine]]
        for turn in range(max(len(good), len(bad))):
            by_type[kind] += [int(part[turn]) for part in (good, bad) if turn < len(part)]
    turns = max(map(len, by_type.values()), default=0)
    spread = [places[turn] for turn in range(turns) for places in by_type.values() if turn < len(places)]
    return sorted(spread[:MOST])


def _png(place: int, seen: Seen) -> bytes:
    preparer = seen.preparer
    image = preparer.images(seen.true.case(place))[0]
    rule, axis = intensity_rule(preparer.prepare, preparer.windows), preparer.prepare.slices.axis or "native"
    plan = windowing.slice_plan(image, plane=axis, count=1)
    return square_png(windowing.pictures_of(image, plan, rule)[0], plan.pixel_spacing_mm or (1.0, 1.0), SIDE_PX)

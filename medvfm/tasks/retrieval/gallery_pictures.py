"""What the report shows of retrieval: queries with what was found, and how alike some texts and images are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from medvfm.core.array import Array
from medvfm.core.protocols import Record, Seen
from medvfm.io.rendering import windowing
from medvfm.io.run_directory import write_bytes
from medvfm.models.inputs.slice_stacks import intensity_rule
from medvfm.tasks.retrieval.gallery import CANDIDATES, RANK, RIGHT, TEXT_TO_IMAGE, Gallery
from medvfm.tasks.retrieval.ranked_queries import RankedQueries
from medvfm.tasks.small_pictures import square_png

QUERIES = 6  # from the best found to the worst
HITS = 5
MATRIX = 40  # texts and images
SIDE_PX = 128
LETTERS, LETTERS_OF_ROWS = 300, 120  # of a text


def write(test: RankedQueries, seen: Seen) -> Record:
    """Pictures under previews/, and what run.json says of them: cases by their place among the test cases alone."""
    if TEXT_TO_IMAGE not in test.targets or not test.galleries:
        return {}
    column = test.targets.index(TEXT_TO_IMAGE)
    ranks, pictures, found = test.values[RANK][:, column], _Pictures(seen), []
    for place in _spread(ranks):
        gallery, first = _gallery_of(test, place)
        pair = gallery.similarity_and_right(TEXT_TO_IMAGE)
        assert pair is not None
        similarity, right = (matrix[place - first] for matrix in pair)
        hits = np.lexsort((right, -similarity))[:HITS]  # of equal ones the wrong first, as ranks count
        found.append(
            {
                "target": TEXT_TO_IMAGE,
                "query": _text(seen, place, LETTERS),
                "rank": int(ranks[place]),
                "candidates": int(test.values[CANDIDATES][place, column]),
                "right": int(test.values[RIGHT][place, column]),
                "caption": _named(place, test),
                "own": pictures.entry(place) | {"score": float(similarity[place - first])},
                "hits": [
                    pictures.entry(first + int(hit))
                    | {
                        "right": bool(right[hit]),
                        "score": float(similarity[hit]),
                        "text": _text(seen, first + int(hit), LETTERS),
                        "caption": _named(first + int(hit), test),
                    }
                    for hit in hits
                ],
            }
        )
    return {"retrieval": {"gallery": found, "similarity": _matrix(test.galleries[0], seen)}}


def _spread(ranks: Array) -> list[int]:
    """Places of queries at even steps of their ranks, the best and the worst among them."""
    known = np.flatnonzero(~np.isnan(ranks))
    ranked = known[np.argsort(ranks[known], kind="stable")]
    steps = np.unique(np.linspace(0, len(ranked) - 1, min(QUERIES, len(ranked))).round().astype(int))
    return [int(place) for place in ranked[steps]]


def _gallery_of(test: RankedQueries, place: int) -> tuple[Gallery, int]:
    """The gallery that a query is asked of, and the place of its first case."""
    first = 0
    for gallery in test.galleries:
        if place < first + len(gallery.words):
            return gallery, first
        first += len(gallery.words)
    raise AssertionError("a query beyond all galleries")


def _matrix(gallery: Gallery, seen: Seen) -> Record:
    """Of cases spread over the gallery's texts in order: texts in rows, images in columns."""
    pair = gallery.similarity_and_right(TEXT_TO_IMAGE)
    if pair is None:
        return {}
    order = np.argsort(gallery.words, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MATRIX, len(order))).round().astype(int))]
    values, right = (matrix[np.ix_(chosen, chosen)] for matrix in pair)
    return {
        "cases": (chosen + 1).tolist(),
        "of": len(order),
        "texts": [_text(seen, int(place), LETTERS_OF_ROWS) for place in chosen],
        "values": values.round(4).tolist(),
        "right": right.astype(int).tolist(),
    }


def _text(seen: Seen, place: int, most: int) -> str:
    text = " ".join((seen.true.case(place).text or "").split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _named(place: int, test: RankedQueries) -> str:
    return f"case {place + 1} of {len(test.ids)} test cases"


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Each case's picture is written once; names of files hold no patient data."""

    seen: Seen
    _names: dict[int, str] = field(default_factory=dict)

    def entry(self, place: int) -> Record:
        """`file` of the picture; nothing for a case without an image."""
        if place not in self._names:
            content = self._png(place)
            self._names[place] = f"previews/{len(self._names):03d}.png" if content else ""
            if content:
                write_bytes(self.seen.folder / self._names[place], content)
        return {"file": self._names[place]} if self._names[place] else {}

    def _png(self, place: int) -> bytes:
        preparer = self.seen.preparer
        images = preparer.images(self.seen.true.case(place))
        if not images:
            return b""
        rule, axis = intensity_rule(preparer.prepare, preparer.windows), preparer.prepare.slices.axis or "native"
        plan = windowing.slice_plan(images[0], plane=axis, count=1)
        pixels = windowing.pictures_of(images[0], plan, rule)[0]
        return square_png(pixels, plan.pixel_spacing_mm or (1.0, 1.0), SIDE_PX)

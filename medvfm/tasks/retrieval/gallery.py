"""The cases that are searched: how alike texts and images are, what is right for what, and what that gives a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import PredictionError
from medvfm.core.metric_spec import MetricSpec
from medvfm.io.dataset.layout_rows import as_text, is_unknown
from medvfm.metrics import retrieval

TEXT_TO_IMAGE, IMAGE_TO_TEXT, IMAGE_TO_IMAGE = "text_to_image", "image_to_text", "image_to_image"
WITHIN = " within "  # `recall@k=10 within plane`: candidates are those that share the column with the query
SAME_TEXT = "text"  # in place of a column: images are right for each other where their texts are the same
RANK, RIGHT, CANDIDATES = "rank", "right", "candidates"  # stand among the values, for every query
MEASURED = (RANK, RIGHT, CANDIDATES)
DECIMALS = 12  # of a similarity: products of the same vectors differ beyond, by how a matrix is divided into blocks


@dataclass(frozen=True, eq=False)
class Gallery:
    """The n cases of one fold, each of them query and candidate.

    by_text   (n, n) similarity of texts (rows) and images (columns); None where answers hold no text
    by_image  (n, n) similarity of images; None where images are not searched by images
    words     (n,) whole numbers, equal where texts are the same
    same      (n,) the same for images that are right for each other, -1 where that is unknown
    columns   column to (n,), equal where cases share it, -1 where it is unknown
    """

    by_text: Array | None
    by_image: Array | None
    words: Array
    same: Array
    columns: Mapping[str, Array]

    def dealt(self, order: Array) -> Gallery:
        """The texts, and what else says what is right, dealt to other cases: case i gets that of case order[i]."""
        by_text = None if self.by_text is None else self.by_text[order]
        return replace(self, by_text=by_text, words=self.words[order], same=self.same[order])

    def values(
        self, specs: Sequence[MetricSpec], targets: Sequence[str], rng: np.random.Generator | None = None
    ) -> dict[str, Array]:
        """Name of a metric or measure to (n, T), among all candidates and within each column.

        With `rng` texts are dealt anew: among all cases, and for what is within a column among those that share it, so
        that it keeps the texts that it has.
        """
        whole = self if rng is None else self.dealt(rng.permutation(len(self.words)))
        found = whole._of(specs, targets, [np.arange(len(self.words))])
        for column, groups in self.columns.items():
            part = self if rng is None else self.dealt(_within(groups, rng))
            inner = part._of([s for s in specs if s.metric.takes == "ranks"], targets, _parts(groups))
            found |= {f"{name}{WITHIN}{column}": values for name, values in inner.items()}
        return found

    def similarity_and_right(self, target: str) -> tuple[Array, Array] | None:
        """(n, n) of the queries of a target, in rows, and its candidates; None where there is no such similarity."""
        if target == IMAGE_TO_IMAGE:
            return None if self.by_image is None else (self.by_image, equal(self.same))
        if self.by_text is None:
            return None
        return self.by_text if target == TEXT_TO_IMAGE else self.by_text.T, equal(self.words)

    def _of(self, specs: Sequence[MetricSpec], targets: Sequence[str], parts: Sequence[Array]) -> dict[str, Array]:
        """Name to (n, T), each of `parts` (rows of cases) searched alone; a case in no part has no candidates."""
        n = len(self.words)
        found = {name: np.full((n, len(targets)), np.nan) for name in (*(s.name for s in specs), *MEASURED)}
        for column, target in enumerate(targets):
            pair = self.similarity_and_right(target)
            if pair is None:
                continue
            for name in (RIGHT, CANDIDATES):
                found[name][:, column] = 0
            for rows in parts:
                similarity, right = (matrix[np.ix_(rows, rows)] for matrix in pair)
                among = np.ones_like(right) if target != IMAGE_TO_IMAGE else ~np.eye(len(rows), dtype=bool)
                for name, values in measured(similarity, right, among, specs).items():
                    found[name][rows, column] = values
            for spec in specs:
                if spec.metric.takes == "cosine" and target == TEXT_TO_IMAGE:
                    pairs = torch.from_numpy(np.diagonal(pair[0]).copy())
                    found[spec.name][:, column] = spec.metric.function(pairs).numpy()
        return found


def of_cases(
    cases: Sequence[Case], images: Array, texts: Array | None, same: str | None, within: Sequence[str]
) -> Gallery:
    """images and texts (n, D), unit vectors of one space; `same` names a column, or SAME_TEXT."""
    for name, vectors in (("image", images), ("text", texts)):
        for row in [] if vectors is None else np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
            raise PredictionError(f"the vector of the {name} of a case is not finite", where=cases[int(row)].case_id)
    words = numbered([spelled(case.text) for case in cases])
    shared = {c: numbered([_value(case, c) for case in cases]) for c in within}
    alike = words if same in (None, SAME_TEXT) else numbered([_value(case, same) for case in cases])
    return Gallery(
        None if texts is None else (texts @ images.T).round(DECIMALS),
        None if same is None else (images @ images.T).round(DECIMALS),
        words,
        alike,
        shared,
    )


def measured(similarity: Array, right: Array, among: Array, specs: Sequence[MetricSpec]) -> dict[str, Array]:
    """(q,) of the queries of a gallery: every metric of ranks, the place of the first right candidate, and how many
    candidates there are, and right ones. similarity, right and among (q, n)."""
    scores, truth, there = (torch.from_numpy(np.ascontiguousarray(a)) for a in (similarity, right, among))
    found = {
        spec.name: spec.metric.function(truth, scores, among=there, **spec.arguments).numpy()
        for spec in specs
        if spec.metric.takes == "ranks"
    }
    counted = {RIGHT: (right & among).sum(axis=1), CANDIDATES: among.sum(axis=1)}
    return found | {RANK: retrieval.first_rank(truth, scores, among=there).numpy(), **counted}


def spelled(text: str | None) -> str:
    """A text as it is compared: white space and capitals make no difference."""
    return " ".join((text or "").split()).casefold()


def numbered(values: Sequence[str]) -> Array:
    """(n,) whole numbers, the same for the same value, -1 for an empty one."""
    _, numbers = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    return np.where([value == "" for value in values], -1, numbers)


def _within(groups: Array, rng: np.random.Generator) -> Array:
    """(n,) an order by chance in which every row stays with those that share its value; rows without one stay."""
    order = np.arange(len(groups))
    for rows in _parts(groups):
        order[rows] = rng.permutation(rows)
    return order


def _parts(groups: Array) -> list[Array]:
    """The rows of each known value."""
    return [np.flatnonzero(groups == value) for value in np.unique(groups[groups >= 0])]


def equal(numbers: Array) -> Array:
    """(n, n) of bool: both are known and the same."""
    return np.asarray((numbers[:, None] == numbers[None, :]) & (numbers >= 0)[:, None])


def _value(case: Case, column: str | None) -> str:
    value = case.groups.get(str(column), "")
    return "" if is_unknown(value) else as_text(value)

"""What a report says of retrieval."""

from __future__ import annotations

WORDS = {
    "action": "searched for the matching case of each query",
    "holds": "Cases with a text",
    "convention": "Every case is a query, and its candidates are all cases of the split (with folds, of its own fold), "
    "ranked by similarity (of the unit vectors of a model, their inner product). A candidate is right where its text "
    "is that of the query, apart from white space and capitals, so that cases with the same text are right for each "
    "other; of equal similarities the wrong ones stand first. The gallery is held fixed when patients are resampled: "
    "intervals are about other queries to the same gallery, and a larger gallery would give lower numbers.",
    "convention_clip_score": "CLIPScore is 100 times the cosine of an image and its own text, from 0 on (Hessel 2021).",
    "baseline_texts_permuted": "texts dealt anew at random",
}
SAME = (
    "From image to image the query itself is no candidate, and images are right for each other where {} is the same; a "
    "query without a right candidate has no value."
)

"""New images ranked by a query in words or by an image, or embedded for other programs to search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from medvfm.core.capabilities import SearchingAdapter
from medvfm.core.errors import RecipeError, RunError
from medvfm.engine import search as engine_search
from medvfm.engine.predict import InputReader, Model, input_of
from medvfm.engine.search import Vectors
from medvfm.io import run_directory
from medvfm.io.console import Console
from medvfm.io.run_directory import Run
from medvfm.nn import state
from medvfm.pipeline import where
from medvfm.pipeline.predicting import Finished, free_table, readable

EXPORTS = ("parquet", "safetensors")  # forms of vectors that FAISS, LanceDB and others read
WAYS = "say --query TEXT, --like IMAGE, or --format parquet or safetensors for vectors"


def search(
    run: str | Path | Run,
    images: object,
    out: str | Path | None = None,
    *,
    query: str | None = None,
    like: object | None = None,
    overwrite: bool = False,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> pd.DataFrame:
    """Images from the nearest on: input, case_id, rank (from 1), score (the cosine), unlike, model.

    query  words in any script; like: an image, as `images` has them. One of the two. `out` gets predictions.csv.
    `attrs` of the table holds what else is to be known: `left_out` and `unlike`, both (input, reason).
    """
    if (query is None) == (like is None):
        raise RecipeError("a search is by a query or by an image that is alike, one of the two", where="--query")
    if query is not None and not any(letter.isalnum() for letter in query):
        raise RecipeError("an empty query", where="--query", remedy="say in words what to look for")
    path = free_table(None if out is None else Path(out), overwrite=overwrite)
    finished = Finished.of(run)
    model = finished.model()
    adapter = engine_search.searching(model)
    if query is not None:
        assert isinstance(adapter, SearchingAdapter)
        vector = adapter.text_vectors([query])[0]
    else:
        asked = _embedded(finished, model, like, device, True, console)
        if len(asked.cases) != 1:
            raise RecipeError(f"{len(asked.cases)} images to be alike, and one is taken", where="--like")
        vector = asked.values[0]
    found = _embedded(finished, model, images, device, strict, console)
    order, scores = engine_search.nearest(found.values, vector)
    unlike = dict(found.unlike)
    table = pd.DataFrame(
        [
            {
                "input": input_of(found.cases[place]),
                "case_id": found.cases[place].case_id,
                "rank": rank,
                "score": float(score),
                "unlike": unlike.get(input_of(found.cases[place]), ""),
                "model": model.name,
            }
            for rank, (place, score) in enumerate(zip(order, scores, strict=True), 1)
        ]
    )
    if path is not None:
        run_directory.write_table(path, readable(table))
    table.attrs |= {"left_out": found.left_out, "unlike": found.unlike}
    return table


def export(
    run: str | Path | Run,
    images: object,
    out: str | Path,
    form: str,
    *,
    overwrite: bool = False,
    device: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> Vectors:
    """Unit vectors of images as embeddings.parquet (a row an image, the column `vector` a list of numbers) or
    embeddings.safetensors (`vectors` (n, D) float32; its metadata names the inputs in order)."""
    path = Path(out) / f"embeddings.{form}"
    if path.exists() and not overwrite:
        raise RunError("holds vectors already", where=out, remedy="give another --out, or --overwrite")
    finished = Finished.of(run)
    model = finished.model()
    found = _embedded(finished, model, images, device, strict, console)
    inputs = [input_of(case) for case in found.cases]
    ids = [case.case_id for case in found.cases]
    values = found.values.astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "parquet":
        table = pd.DataFrame({"input": inputs, "case_id": ids, "vector": list(values), "model": model.name})
        run_directory.write_table(path, table)
    else:
        state.write_arrays(
            path, {"vectors": values}, {"inputs": json.dumps(inputs), "case_ids": json.dumps(ids), "model": model.name}
        )
    return found


def _embedded(
    finished: Finished, model: Model, images: object, device: str | None, strict: bool,
    console: Console | None,
) -> Vectors:  # fmt: skip
    console = console or Console()
    inputs, ready = finished.inputs(images, console, strict=strict)
    reader = InputReader(model.adapters[0].preparer, ready)
    found = engine_search.vectors(model, inputs.cases, reader, where.context(Path(), device, strict, console))
    return Vectors(found.cases, found.values, [*inputs.left_out, *found.left_out], found.unlike)

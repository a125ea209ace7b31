"""Pictures of a run of generation: sheets of made images beside real ones, and pairs that look like copies."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as Picture
from PIL import ImageDraw

from medvfm.core.array import Array
from medvfm.core.protocols import Record, Seen
from medvfm.io.run_directory import write_bytes, write_text
from medvfm.metrics import fidelity
from medvfm.tasks.generation import volume_strips
from medvfm.tasks.generation.judge import Judge, Pictures
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.set_features import record_of

COLUMNS, ROWS, CONDITIONS, PAIRS, BLINDED = 6, 2, 8, 6, 24
SIDE_PX, GAP_PX = 112, 3
LETTERS = 90
STUDY = "reader_study"


def write(found: MadeSet, classes: Sequence[str], seen: Seen, *, blinded: bool) -> Record:
    """Files below `seen.folder`/previews, and what run.json says of them."""
    if found.judge is None or found.pictures is None:
        return {}
    shown = found.judge.real(seen.true)[0]
    record: Record = {
        "made": len(found.made),
        "real": len(found.real),
        "volumes": found.pictures.ndim == 5,
        "sheets": _sheets(found, classes, shown, seen),
        "copies": _copies(found, found.judge, found.pictures),
        "nearest": _nearest(found, found.judge, found.pictures, shown, seen),
    }
    if blinded:
        record["blinded"] = _blinded(found, found.pictures, shown, seen)
    return {"generation": record, "extractor": record_of(found.judge.extractor, found.pictures)}


def _sheets(found: MadeSet, classes: Sequence[str], shown: Pictures, seen: Seen) -> list[Record]:
    """For the conditions that occur most: made images, and the real ones of the same cases."""
    assert found.pictures is not None
    conditions = _conditions(found, classes)
    words, counts = np.unique(conditions, return_counts=True)
    place = {case_id: row for row, case_id in enumerate(shown.ids)}
    sheets: list[Record] = []
    for word in words[np.argsort(-counts, kind="stable")][:CONDITIONS]:
        rows = np.flatnonzero(conditions == word)[: COLUMNS * ROWS]
        real = list(dict.fromkeys(place[found.ids[int(r)]] for r in rows))
        number = len(sheets)
        entry: Record = {"condition": _short(word), "images": int((conditions == word).sum())}
        for name, pixels in (("made", found.pictures[rows]), ("real", shown.pixels[real])):
            file = f"previews/sheet_{number}_{name}.png"
            write_bytes(seen.folder / file, sheet(pixels, spacing_mm=found.spacing_mm))
            entry[name] = file
        sheets.append(entry)
    return sheets


def _conditions(found: MadeSet, classes: Sequence[str]) -> Array:
    """(m,) the condition of each image in words; its classes alone where most images have other words than the
    CONDITIONS that occur most."""
    words = np.array([str(w) for w in found.asked])
    counts = np.sort(np.unique(words, return_counts=True)[1])[::-1]
    if not classes or counts[:CONDITIONS].sum() >= len(words) / 2:
        return words
    names = [name.replace("_", " ") for name in classes]
    return np.array(
        [
            ", ".join(name if value else f"no {name}" for name, value in zip(names, row, strict=True) if value == value)
            for row in found.made.labels
        ]
    )


def _copies(found: MadeSet, judge: Judge, pictures: Array) -> Record:
    """How many made images single out a training image more than nearly all real test images do."""
    made, real = found.made.singled, found.real.singled
    alike, usually = found.made.alike, found.real.alike
    if made is None or real is None or alike is None or usually is None or not np.isfinite(real).any():
        return {}
    limit = float(fidelity.singled_limit(torch.from_numpy(real)))
    near, usual = found.made.nearest, found.real.nearest
    closer = 0 if near is None or usual is None else int((near < np.quantile(usual, 1 - fidelity.LIKE)).sum())
    return {
        "suspected": int((made < limit).sum()),
        "of": len(made),
        "limit": limit,
        "share": fidelity.LIKE,
        "closer": closer,
        "made_median": float(np.median(alike)),
        "real_median": float(np.median(usually)),
        "made_singled": float(np.median(made)),
        "real_singled": float(np.median(real)),
        **_verified(found, judge),
    }


def _verified(found: MadeSet, judge: Judge) -> Record:
    """How many made images a verification model takes for a training patient's, and how many real test images."""
    made, real = found.made.verified, found.real.verified
    if judge.verifier is None or made is None or real is None:
        return {
            "verified_by": None,
            "verified_by_reason": "no verification model was named, so whether two images are of one patient was not "
            "asked",
        }
    counts = {"made": int(made.sum()), "of_made": len(made), "real": int(real.sum()), "of_real": len(real)}
    return {"verified_by": judge.verifier.record, "verified": counts}


def _nearest(found: MadeSet, judge: Judge, pictures: Array, shown: Pictures, seen: Seen) -> list[Record]:
    """The made images that single out a training image most, beside it; then the same of real test images."""
    entries: list[Record] = []
    for kind, measured, pixels in (("made", found.made, pictures), ("test", found.real, shown.pixels)):
        values, singled = measured.alike, measured.singled
        if values is None or singled is None:
            return []
        rows = np.argsort(singled, kind="stable")[:PAIRS]
        twins = judge.train.pixels[judge.most_alike_training(pixels[rows])]
        for row, twin in zip(rows, twins, strict=True):
            name = f"previews/nearest_{len(entries):02d}.png"
            pair = sheet(np.stack([pixels[row], twin]), columns=2, spacing_mm=found.spacing_mm)
            write_bytes(seen.folder / name, pair)
            entries.append({"kind": kind, "file": name, "alike": float(values[row]), "singled": float(singled[row])})
    return entries


def _blinded(found: MadeSet, pictures: Array, shown: Pictures, seen: Seen) -> Record:
    """Made and real images in an order by chance, numbered from left to right, and which is which."""
    rng = np.random.default_rng([len(found.made), 7])
    count = min(BLINDED, len(pictures), len(shown))
    picked = [("made", int(r)) for r in rng.permutation(len(pictures))[:count]]
    picked += [("real", int(r)) for r in rng.permutation(len(shown))[:count]]
    order = [picked[int(i)] for i in rng.permutation(len(picked))]
    tiles = np.stack([pictures[row] if kind == "made" else shown.pixels[row] for kind, row in order])
    write_bytes(seen.folder / STUDY / "sheet.png", sheet(tiles, columns=8, spacing_mm=found.spacing_mm, numbered=True))
    key = io.StringIO()
    table = csv.writer(key)
    table.writerow(["number", "image", "condition"])
    for number, (kind, row) in enumerate(order, 1):
        table.writerow([number, kind, found.asked[row] if kind == "made" else ""])
    write_text(seen.folder / STUDY / "key.csv", key.getvalue())
    return {"sheet": f"{STUDY}/sheet.png", "key": f"{STUDY}/key.csv", "images": len(order)}


def sheet(
    pixels: Array,
    *,
    columns: int = COLUMNS,
    spacing_mm: tuple[float, float, float] | None = None,
    numbered: bool = False,
) -> bytes:
    """Images (n, C, H, W) in [0, 1] in rows on a black sheet, as PNG; volumes (n, C, S, H, W) by their middle slices,
    a third as many in a row. numbered: each with its number, from 1 on."""
    volumes = pixels.ndim == 5
    if volumes:
        pixels, columns = volume_strips.of(pixels, spacing_mm), max(1, columns // 3)
    n, height, width = len(pixels), pixels.shape[2], pixels.shape[3]
    scale = SIDE_PX / (height if volumes else max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    columns = min(columns, max(n, 1))
    rows = -(-n // columns)
    across, down = size[0] + GAP_PX, size[1] + GAP_PX
    colour = pixels.shape[1] >= 3
    whole = Picture.new("RGB" if colour else "L", (columns * across - GAP_PX, max(rows, 1) * down - GAP_PX))
    for number, image in enumerate(pixels):
        levels = (image.transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)
        tile = Picture.fromarray(levels[..., :3] if colour else levels[..., 0]).resize(size, Picture.Resampling.BICUBIC)
        corner = number % columns * across, number // columns * down
        whole.paste(tile, corner)
        if numbered:
            place = corner[0] + 3, corner[1] + 2
            ImageDraw.Draw(whole).text(place, str(number + 1), fill="white", stroke_width=1, stroke_fill="black")
    out = io.BytesIO()
    whole.save(out, format="PNG", compress_level=4)
    return out.getvalue()


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= LETTERS else f"{plain[: LETTERS - 1].rstrip()}…"

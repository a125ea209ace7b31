"""What is measured of made images beside the training images: a planted copy is found, and sides are not exchanged."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from medvfm.core.case import Case
from medvfm.core.metric_spec import parse
from medvfm.core.protocols import Points, Seen
from medvfm.models.extractors.base import Extractor
from medvfm.tasks.generation import sheets
from medvfm.tasks.generation.image_set import ImageSet
from medvfm.tasks.generation.judge import Judge, Pictures
from medvfm.tasks.generation.made_set import MadeSet
from medvfm.tasks.generation.task import METRICS, GenerationTask

SIDE = 32


class Drawn:
    """Cases whose prepared images are smooth noise, another for every place. See core.protocols.TrueCases."""

    def __init__(self, name: str, count: int, seed: int) -> None:
        noise = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
        smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
        self.images, self.name = (0.5 + smooth).clamp(0, 1).numpy(), name

    def __len__(self) -> int:
        return len(self.images)

    def case(self, place: int) -> Case:
        return Case(f"{self.name}{place}", f"{self.name}p{place}", {}, {"bright": float(place % 2)})

    def pixels(self, place: int) -> np.ndarray:
        return self.images[place]


def extractor() -> Extractor:
    """Pixels at an eighth of the size."""
    return Extractor(
        torch.nn.Identity(), lambda x: torch.nn.functional.avg_pool2d(x, 8), lambda x: x.flatten(1), 16,
        {"name": "pixels", "comparable": False},
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged():
    """24 made images, of which number 5 is a training image moved by two pixels; and the judge with its test images."""
    train, test = Drawn("train", 40, 1), Drawn("test", 24, 2)
    judge = Judge.of(train, ("bright",), extractor())
    shown, real = judge.real(test)
    pixels = Drawn("made", 24, 3).images.copy()
    pixels[5] = np.roll(train.images[17], 2, axis=2)
    made = judge.made(Pictures(shown.ids, shown.patients, pixels, shown.labels), real)
    words = np.array(["a bright one" if n % 2 else "a dark one" for n in range(24)], dtype=object)
    nothing = np.array([""] * 24, dtype=object)
    return MadeSet(made, real, words, np.zeros(24, int), nothing, pictures=pixels, judge=judge), test


def seen(folder, test) -> Seen:
    return Seen(folder, test, lambda place: None, None)


def test_a_planted_copy_is_counted_and_shown_first(judged, tmp_path):
    found, test = judged
    record = sheets.write(found, ("bright",), seen(tmp_path, test), blinded=False)["generation"]
    assert record["copies"]["suspected"] >= 1 and found.made.singled[5] < 0.7 < np.median(found.made.singled)
    first = record["nearest"][0]
    assert first["kind"] == "made" and first["alike"] == pytest.approx(found.made.alike[5]) and first["alike"] > 0.8
    assert int(found.judge.most_alike_training(found.pictures[5:6])[0]) == 17
    assert (tmp_path / first["file"]).is_file()
    (row,) = GenerationTask().estimands(found, [parse("singled_out", METRICS)], Points())
    assert row.value == pytest.approx(record["copies"]["suspected"] / 24)
    assert row.notes == (f"{record['copies']['suspected']} of 24 images",)
    without = found.beside(np.delete(np.arange(24), 5), np.arange(24))
    fewer = sheets.write(without, ("bright",), seen(tmp_path, test), blinded=False)["generation"]
    assert fewer["copies"]["suspected"] == record["copies"]["suspected"] - 1


def test_a_reader_study_has_every_image_once_and_a_key(judged, tmp_path):
    found, test = judged
    record = sheets.write(found, ("bright",), seen(tmp_path, test), blinded=True)["generation"]["blinded"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / record["key"]).read_text())))
    plain = sheets.sheet(np.zeros((4, 1, 8, 8), np.float32))
    assert plain != sheets.sheet(np.zeros((4, 1, 8, 8), np.float32), numbered=True)
    kinds = [row["image"] for row in rows]
    assert len(rows) == record["images"] == 48 and kinds.count("made") == kinds.count("real") == 24
    assert kinds != sorted(kinds) and all(bool(row["condition"]) == (row["image"] == "made") for row in rows)
    assert Image.open(tmp_path / record["sheet"]).size[0] > 800


def test_conditions_that_hardly_two_images_share_are_shown_by_their_classes(judged, tmp_path):
    found, test = judged
    few = sheets.write(found, ("bright",), seen(tmp_path, test), blinded=False)["generation"]
    assert {s["condition"] for s in few["sheets"]} == {"a bright one", "a dark one"}
    ages = np.array([f"bright, age {n}" for n in range(24)], dtype=object)
    record = sheets.write(replace(found, asked=ages), ("bright",), seen(tmp_path, test), blinded=False)["generation"]
    assert [(s["condition"], s["images"]) for s in record["sheets"]] == [("bright", 12), ("no bright", 12)]


def test_true_and_made_sides_are_not_exchanged():
    """Made images that all lie within one half of the real ones are precise and reach half of them."""
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(0, 1, (60, 4)), rng.normal(30, 1, (60, 4))])
    made = rng.normal(0, 0.3, (120, 4))
    ids = tuple(f"c{n}" for n in range(120))
    owners, none = np.array([f"p{n}" for n in range(120)], dtype=object), np.zeros((120, 0))
    near, usual = np.full(120, 1.0), np.full(120, 4.0)
    sets = MadeSet(
        ImageSet(ids, owners, made, none, nearest=near), ImageSet(ids, owners, real, none, nearest=usual),
        owners, np.zeros(120, int), owners,
    )  # fmt: skip
    names = ("precision", "recall", "nearest_ratio", "coverage")
    value = {
        e.metric.name: e.value for e in GenerationTask().estimands(sets, [parse(n, METRICS) for n in names], Points())
    }
    assert value["precision"] > 0.9 and value["recall"] < 0.55 and value["coverage"] < 0.55
    assert value["nearest_ratio"] == pytest.approx(0.25)


def test_a_copy_is_not_hidden_by_other_images_of_its_patient():
    """Twelve images of a patient that hardly differ: the judge knows whose they are."""

    class Repeated(Drawn):
        def case(self, place: int) -> Case:
            return Case(f"r{place}", "one" if place < 12 else f"p{place}", {}, {"bright": float(place % 2)})

    train, test = Repeated("train", 40, 1), Drawn("test", 24, 2)
    train.images[:12] = train.images[:1]
    judge = Judge.of(train, ("bright",), extractor())
    shown, real = judge.real(test)
    pixels = Drawn("made", 24, 3).images.copy()
    pixels[5] = train.images[3]
    made = judge.made(Pictures(shown.ids, shown.patients, pixels, shown.labels), real)
    assert made.singled[5] < 0.05 < np.delete(made.singled, 5).min()

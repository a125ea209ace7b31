"""Small studies as a user would bring them: files, a table, a card, a recipe."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import yaml
from PIL import Image

from medvfm.core import recipe

AFFINE = np.array([[0, -1.2, 0, 40], [-1.2, 0, 0, 30], [0, 0, 3.0, -10], [0, 0, 0, 1.0]])  # columns and rows swapped


def picture(rng: np.random.Generator, disc: bool, bar: bool) -> np.ndarray:
    pixels = rng.normal(90, 25, (48, 48))
    x, y = rng.integers(12, 36, 2)
    i, j = np.ogrid[:48, :48]
    if disc:
        pixels[(i - x) ** 2 + (j - y) ** 2 < 49] += 80
    if bar:
        pixels[:, 20:23] -= 70
    return pixels.clip(0, 255).astype(np.uint8)


class PictureStudy:
    """Pictures whose class can be seen. `recipe(**overrides)` writes the table and gives the recipe; `rows` is the
    table, to be changed before it is written."""

    def __init__(self, folder: Path, cases: int = 72) -> None:
        self.folder, rng = folder, np.random.default_rng(5)
        self.root = folder / "data"
        self.root.mkdir(parents=True)
        self.rows = []
        for n in range(cases):
            disc, bar = n % 2 == 0, n % 3 == 0
            name = f"c{n:03d}.png"
            Image.fromarray(picture(rng, disc, bar)).save(self.root / name)
            split = ("train", "train", "val", "test")[(n // 2) % 4]
            row = {"case_id": f"c{n:03d}", "patient_id": f"p{n // 2:03d}", "image": name, "split": split}
            row |= {"disc": int(disc), "bar": int(bar), "sex": "FM"[(n // 8) % 2], "age": 30 + (n * 7) % 50}
            row |= {"one": int(n % 3 == 0), "two": int(n % 3 == 1), "three": int(n % 3 == 2)}
            self.rows.append(row)

    def card(self) -> str:
        classes = ("disc", "bar", "one", "two", "three")
        card = {
            "name": "pictures", "title": "Discs & <bars>", "version": "1", "statement": "Drawn for a test.",
            "licence": {"name": "none"}, "access": "local", "ids": "safe", "truth": "drawn", "simulated": True,
            "layouts": [
                {
                    "name": "table", "table": "cases.csv", "split": "{split}", "classes": {c: c for c in classes},
                    "groups": {"sex": "{sex}", "age": {"value": "{age}", "number": True}},
                }
            ],
        }  # fmt: skip
        path = self.folder / "pictures.yaml"
        path.write_text(yaml.safe_dump(card))
        return str(path)

    def recipe(self, **changes):
        """The recipe as an object, sections laid over a plain one."""
        table = "\n".join(",".join(str(v) for v in row.values()) for row in self.rows)
        (self.root / "cases.csv").write_text(",".join(self.rows[0]) + "\n" + table + "\n")
        plain = {
            "title": "Is there a disc?",
            "seed": 1,
            "data": {"card": self.card(), "root": str(self.root)},
            "prepare": {"size": 48},
            "split": {"from": "card"},
            "task": {"name": "classification", "classes": ["disc"], "unit": "image"},
            "adapter": {"name": "dinov2", "weights": "tiny", "method": "linear_probe"},
            "evaluate": {
                "metrics": ["auroc", "sensitivity@specificity=0.8", "brier"],
                "confidence": {"resamples": 200},
            },
        }
        return recipe.from_data({**plain, **changes}, "recipe.yaml")


def volume(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A bright ball and a dark box on noise, (32, 28, 6)."""
    shape = (32, 28, 6)
    voxels = rng.normal(100, 12, shape)
    labels = np.zeros(shape, np.uint8)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    centre = np.array([rng.uniform(9, 22), rng.uniform(9, 18), rng.uniform(2, 4)])
    labels[(((index - centre) * (1.2, 1.2, 3)) ** 2).sum(-1) < 49] = 1
    corner = rng.integers((2, 2, 0), (24, 20, 4))
    box = tuple(slice(c, c + s) for c, s in zip(corner, (6, 5, 2), strict=True))
    labels[box] = np.where(labels[box] == 0, 2, labels[box])
    return voxels + 90 * (labels == 1) - 70 * (labels == 2), labels


class VolumeStudy:
    """Balls and boxes in volumes of 32 x 28 x 6 voxels; `recipe(**overrides)` as above."""

    def __init__(self, folder: Path, cases: int = 18) -> None:
        self.folder, rng = folder, np.random.default_rng(3)
        for place in ("images", "labels"):
            (folder / "data" / place).mkdir(parents=True)
        for n in range(cases):
            voxels, labels = volume(rng)
            if n % 6 == 5:
                labels[labels == 2] = 0  # a structure that not every case has
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), AFFINE), self.file("images", n))
            nibabel.save(nibabel.Nifti1Image(labels, AFFINE), self.file("labels", n))
        card = {
            "name": "drawn", "title": "Drawn volumes", "access": "local", "ids": "safe", "simulated": True,
            "labels": {1: {"name": "ball"}, 2: {"name": "box"}},
            "layouts": [
                {
                    "name": "images_and_labels", "files": "images/{case_id}.nii.gz", "patient_id": "{case_id}",
                    "images": {"image": "{path}"}, "masks": {"mask": "labels/{case_id}.nii.gz"},
                }
            ],
        }  # fmt: skip
        (folder / "drawn.yaml").write_text(yaml.safe_dump(card))

    def file(self, place: str, n: int) -> Path:
        return self.folder / "data" / place / f"v{n:02d}.nii.gz"

    def recipe(self, **changes):
        plain = {
            "title": "Ball and box",
            "seed": 2,
            "data": {"card": str(self.folder / "drawn.yaml"), "root": str(self.folder / "data")},
            "prepare": {"size": 32},
            "split": {"from": "random", "fractions": [0.6, 0.15, 0.25]},
            "task": {"name": "segmentation", "classes": ["ball", "box"]},
            "adapter": {"name": "dinov2", "weights": "tiny", "method": "full"},
            "train": {"epochs": 4, "steps": 25, "batch_size": 8, "learning_rate": 4e-3},
            "evaluate": {
                "metrics": ["dice", "hd95", "nsd@tolerance=2", "missed", "spurious", "volume_error"],
                "confidence": {"resamples": 200},
            },
        }
        return recipe.from_data({**plain, **changes}, "recipe.yaml")

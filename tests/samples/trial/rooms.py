"""Makes the trial tasks and adapters known as a user would: their folders are appended to the packages' paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

import medvfm.adapters
import medvfm.tasks
from medvfm.core import recipe
from medvfm.core.errors import RecipeError
from medvfm.core.yaml_source import read

FOLDER = Path(__file__).parent


def open_rooms(patch) -> None:
    """For as long as the monkeypatch `patch` lasts."""
    for package in (medvfm.adapters, medvfm.tasks):
        room = str(FOLDER / package.__name__.rpartition(".")[2])
        patch.setattr(package, "__path__", [*package.__path__, room])


class BrightnessStudy:
    """Plain grey pictures with noise, whose brightness is the answer; two sites, and a text of each."""

    def __init__(self, folder: Path, cases: int = 32) -> None:
        self.folder, self.root, rng = folder, folder / "data", np.random.default_rng(7)
        self.root.mkdir(parents=True)
        self.rows = []
        for n in range(cases):
            level = int(rng.integers(20, 235))
            pixels = (level + rng.normal(0, 3, (12, 12))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(self.root / f"{n:02d}.png")
            split = ("train", "val", "train", "test")[(n // 2) % 4]
            row = {"case_id": f"c{n:02d}", "patient_id": f"p{n // 2:02d}", "image": f"{n:02d}.png", "split": split}
            words = {"text": f"picture of site {n % 3}", "question": "How bright?", "answer": f"{pixels.mean():.3f}"}
            self.rows.append(row | words | {"bright": int(level > 127), "site": "AB"[n % 2]})
        self.write()

    def with_masks(self) -> None:
        """A mask of the left side of every second picture and of the lower part of each, which is darker."""
        for n, row in enumerate(self.rows):
            with Image.open(self.root / row["image"]) as image:
                pixels = np.array(image)
            mask = np.zeros(pixels.shape, np.uint8)
            mask[6 + n % 4 :] = 2
            if n % 2:
                mask[:6, :5] = 1
            Image.fromarray(np.where(mask == 2, pixels // 2, pixels).astype(np.uint8)).save(self.root / row["image"])
            Image.fromarray(mask).save(self.root / f"mask{row['image']}")
            row["mask"] = f"mask{row['image']}"
        self.write(labels={1: {"name": "left"}, 2: {"name": "lower"}}, layout={"masks": {"mask": "{mask}"}})

    def write(self, name: str = "cases.csv", rows: list | None = None, **card) -> Path:
        """Table and card; the card's path."""
        rows = self.rows if rows is None else rows
        lines = [",".join(map(str, row.values())) for row in rows]
        (self.root / name).write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
        layout = {
            "name": "table", "table": name, "groups": ["site"], "classes": ["bright"] if "bright" in rows[0] else [],
        }  # fmt: skip
        stem = name.partition(".")[0]
        whole = {
            "name": stem,
            "title": f"Grey {stem}",
            "access": "local",
            "ids": "safe",
            "simulated": True,
            "truth": "drawn",
        }
        path = self.folder / f"{stem}.yaml"
        path.write_text(yaml.safe_dump(whole | {"layouts": [layout | card.pop("layout", {})]} | card))
        return path

    def file(self, **changes) -> Path:
        """A recipe, sections laid over a plain one."""
        plain = {
            "title": "Brightness",
            "seed": 1,
            "data": {"card": "cases.yaml", "root": "data"},
            "split": {"from": "card"},
            "prepare": {"windows": [0, 255]},
            "task": {"name": "trial_brightness"},
            "adapter": {"name": "trial_adapter", "method": "fitted"},
            "evaluate": {"metrics": ["absolute_error", "within@k=10"], "confidence": {"resamples": 100}},
        }
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in (plain | changes).items() if v is not None}))
        return path

    def recipe(self, **changes):
        return recipe.from_source(read(self.file(**changes), RecipeError))

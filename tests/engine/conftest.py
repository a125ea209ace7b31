"""A small study of pictures whose class can be seen, as a user would bring it: files, a table, a card, a recipe."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

CLASSES = ("disc", "bar")


def picture(rng: np.random.Generator, disc: bool, bar: bool) -> np.ndarray:
    pixels = rng.normal(90, 25, (48, 48))
    x, y = rng.integers(12, 36, 2)
    i, j = np.ogrid[:48, :48]
    if disc:
        pixels[(i - x) ** 2 + (j - y) ** 2 < 49] += 80
    if bar:
        pixels[:, 20:23] -= 70
    return pixels.clip(0, 255).astype(np.uint8)


class Study:
    """`recipe(**overrides)` writes the YAML; `rows` is the table, to be changed before it is written."""

    def __init__(self, folder, cases: int = 72) -> None:
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
            "licence": {"name": "none"}, "access": "local", "truth": "drawn", "simulated": True,
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
        from medvfm.core import recipe

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


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "study")

"""Pictures of mistakes are whole, say what the model saw of them, and name sides only where the file does."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Picture

from medvfm.core.image import Image
from medvfm.core.protocols import Points
from medvfm.models.inputs.contract import InputContract
from medvfm.tasks.classification import mistake_pictures
from medvfm.tasks.classification.scores import ScoreTable

CROPPED = InputContract((224, 224), "shortest_then_crop", (256, 256))


@pytest.mark.parametrize(
    ("contract", "shape", "share"),
    [
        (CROPPED, (300, 400), (224 / 256, 300 / 400 * 224 / 256)),
        (CROPPED, (400, 300), (300 / 400 * 224 / 256, 224 / 256)),
        (InputContract((224, 224), "squash_then_crop", (256, 448)), (10, 20), (224 / 256, 0.5)),
        (InputContract((224, 224)), (300, 400), (1.0, 1.0)),
        (InputContract((224, 224), "pad"), (300, 400), (1.0, 1.0)),
    ],
)
def test_the_share_that_the_model_sees(contract, shape, share):
    assert contract.seen_share(shape) == pytest.approx(share)


@pytest.mark.parametrize(("toward", "sides"), [(["L", "F"], ("R", "L")), (["R", "F"], ("L", "R")), (None, None)])
def test_a_picture_is_whole_with_a_frame_and_the_sides_that_its_file_says(toward, sides):
    header = {} if toward is None else {"patient_orientation": toward}
    image = Image(np.full((400, 300, 1), 90, np.uint8), np.eye(4), "arbitrary", False, header=header)
    look = mistake_pictures.whole(image, (0.0, 255.0), CROPPED.seen_share((300, 400)))
    assert look.sides == sides and look.pixels.shape == (1, 1, 300, 400)
    drawn = np.asarray(Picture.open(io.BytesIO(mistake_pictures._png(look))))
    assert drawn.shape == (240, 320, 3)
    top = round((1 - 224 / 256) / 2 * 240)
    assert (drawn[top] == 255).all(axis=-1).sum() > 50 and (drawn[top - 3] == 90).all()
    edge = drawn[110:130, :20]
    assert (edge == 90).all() == (sides is None)


def test_beside_the_mistakes_stand_cases_that_chance_chose(tmp_path):
    rng = np.random.default_rng(0)
    truth = (np.arange(40) % 2).astype(float)[:, None]
    truth[5] = np.nan
    ids, nobody = tuple(f"c{n}" for n in range(40)), {}
    table = ScoreTable(ids, np.array(ids, dtype=object), ("lesion",), truth, rng.random((40, 1)), True, nobody)
    points = Points({("decision", "lesion"): np.array([0.5])})
    shown = mistake_pictures.CasePicture(np.zeros((1, 1, 8, 8), np.float32))
    found = mistake_pictures.write(tmp_path, table, points, lambda unit: shown)
    kinds = [entry["kind"] for entry in found]
    assert kinds == ["false positive"] * 4 + ["false negative"] * 4 + ["random"] * 6
    for entry in found:
        row = entry["place"] - 1
        assert entry["truth"] == truth[row, 0] and entry["score"] == table.scores[row, 0] and row != 5
        assert (tmp_path / entry["file"].removeprefix("previews/")).is_file()
    again = mistake_pictures.write(tmp_path, table, points, lambda unit: shown)
    assert again == found

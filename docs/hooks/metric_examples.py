"""An example of every metric that runs, with what it gives, and what a metric costs: by what its function takes.

The code is run when the page is made, and the result that stands beside it is what came out.
"""

from __future__ import annotations

import ast
from typing import Any

PARAMETERS = {
    "specificity": "0.5", "sensitivity": "0.5", "tolerance": "2.0", "iou": "0.5", "k": "2", "prevalence": "0.1",
    "threshold": "0.2",
}  # fmt: skip
MASKS = (
    "truth = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])",
    "given = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 2]])",
)
FEATURES = (
    "truth = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))  # 16 images, 2 features",
    "made = truth + torch.tensor([0.5, 0.0])",
)
# What the function takes: lines before the call, and what stands in its brackets.
CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "score": (("truth, score = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0.1, 0.6, 0.4, 0.8, 0.9])",), "truth, score"),
    "probability": (
        ("truth, risk = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0.1, 0.6, 0.4, 0.8, 0.9])",), "truth, risk",
    ),
    "decision": (("truth, called = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])",), "truth, called"),
    "class_score": (
        ("truth = torch.tensor([0, 1, 2, 2])",
         "score = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.1, 0.5, 0.4]])"),
        "truth, score",
    ),
    "class": (("truth, called = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 2, 2, 1])",), "truth, called"),
    "overlap": (
        (*MASKS, "counts = overlap.counts(truth, given, labels=[1, 2], voxel_mm3=8.0)  # the truth has no label 2"),
        "counts",
    ),
    "surface": (
        (*MASKS, "surfaces = surface.surfaces(truth, given, 1, np.diag([2.0, 2.0, 2.0, 1.0]))  # voxels of 2 mm"),
        "surfaces",
    ),
    "instances": (
        ("truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])", "given = np.array([[1, 1, 0, 0], [1, 0, 0, 3]])",
         "matches = instances.matches(truth, given)"),
        "matches",
    ),
    "features": (FEATURES, "truth, made"),
    "images": (
        ("image = (torch.arange(64 * 64.0).reshape(1, 1, 64, 64) % 97) / 97",
         "made = torch.cat([image, 0.9 * image, 0.8 * image])"), "made",
    ),
    "image_pair": (
        ("truth = (torch.arange(64 * 64.0).reshape(1, 1, 64, 64) % 97) / 97", "made = 0.9 * truth"), "truth, made",
    ),
    "distances": (("real, made = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0])",), "real, made"),
    "singled": (("real, made = torch.linspace(0.6, 1.0, 101), torch.tensor([0.1, 0.7, 0.9])",), "real, made"),
    "verified": (("verified = torch.tensor([1, 0, 0, 0])",), "verified"),
    "lesions": (
        ("truth = np.full((32, 32), 0.4)", "truth[8:14, 8:14] = 0.8", "lesions = truth > 0.6",
         "given = np.full((32, 32), 0.4)  # all is smoothed away", "usual = UsualLesion(contrast=-0.4, least_px=18, lesions=50)"),
        "truth, given, lesions, usual",
    ),
    "embeddings": (
        ("image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])", "text = torch.tensor([[1.0, 0.0], [0.6, 0.8]])"),
        "image, text",
    ),
    "ranks": (
        ("right = torch.tensor([[True, False, False, False], [False, False, True, False]])",
         "similarity = torch.tensor([[0.9, 0.5, 0.3, 0.1], [0.9, 0.7, 0.5, 0.1]])"),
        "right, similarity",
    ),
    "cosine": (("cosine = torch.tensor([0.3, 0.5])",), "cosine"),
    "texts": ((), '"Left lung", "left lung."'),
    "closed_text": ((), '"yes", "Yes, there is an effusion."'),
    "open_text": ((), '"left lower lobe", "in the left lobe"'),
    "text_counts": ((), '"No effusion. Small pneumothorax.", "No effusion. No pneumothorax."'),
}  # fmt: skip
COSTS = {
    "score": "one sort of the n cases; each resample n more",
    "probability": "n; each resample n (a slope or an intercept some Newton steps)",
    "decision": "n; each resample n",
    "class_score": "n for each class, a sort where cases are ranked; each resample as much without the sort",
    "class": "n; each resample n",
    "overlap": "one pass over the voxels of a case for all structures together",
    "surface": "m log m for m surface voxels of a structure (KD-tree), in the box around it",
    "instances": "one pass over the voxels, then the pairs of objects that touch",
    "features": "the features of the images, which cost most; then n d² + d³ for fid, n² d for the others",
    "images": "pairs of images, 1,000 at most",
    "image_pair": "the pixels, at each of up to 5 scales",
    "distances": "n, after the distances of all images to the training images",
    "lesions": "the voxels of a case, and its connected parts",
    "singled": "n, after comparing every image with all training images, pixel by pixel",
    "verified": "n, after the features of a verification model for all made, training and test images",
    "embeddings": "n d, after the vectors",
    "ranks": "a sort of the candidates of every query",
    "cosine": "n, after the vectors",
    "texts": "the length of the texts",
    "closed_text": "the length of the texts",
    "open_text": "the length of the texts; rouge_l their product",
    "text_counts": "the length of the texts; each resample n",
}


def code(entry: Any) -> str:
    """Lines that run by themselves; the last is the call."""
    lines, inside = CALLS[entry.takes]
    function = entry.function
    module = function.__module__
    used = [f"from {module} import {function.__name__}"]
    if entry.takes in ("overlap", "surface", "instances"):
        used.append(f"from medvfm.metrics import {entry.takes}")
    if entry.takes == "lesions":
        used.append(f"from {module} import UsualLesion")
    given = f"{inside}, {entry.parameter}={PARAMETERS[entry.parameter]}" if entry.parameter else inside
    call = f"{function.__name__}({given})"
    if entry.takes == "text_counts":
        counted = entry.per_case
        used.append(f"from {counted.__module__} import {counted.__name__}")
        call = f"{function.__name__}({counted.__name__}({inside}))"
    text = "\n".join([*lines, call])
    libraries = [name for name in ("import numpy as np", "import torch") if f"{name.split()[-1]}." in text]
    return "\n".join([*libraries, *sorted(set(used)), "", text])


def result(lines: str) -> str:
    """What the last line gives, to four digits."""
    tree = ast.parse(lines)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(tree, "example", "exec"), names)
    return _shown(eval(compile(ast.Expression(last.value), "example", "eval"), names))


def _shown(value: Any) -> str:
    listed = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(listed, list):
        return f"[{', '.join(_shown(one) for one in listed)}]"
    return f"{float(listed):.4g}"

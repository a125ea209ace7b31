"""HD95 with surface Dice of a volume of 256 x 256 x 256 beside MONAI: time, and the memory of a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from medvfm.metrics import surface
from tests.benchmarks.measure import Row, fastest

SIDE, TOLERANCE_MM = 256, 1.0
ALIKE = 1e-6
AFFINE = np.eye(4)


def volumes() -> tuple[np.ndarray, np.ndarray]:
    """Two ellipsoids with waves on them, of about a sixth of the volume."""
    place = np.indices((SIDE,) * 3, dtype=np.float32) / SIDE - 0.5

    def body(shift: float) -> np.ndarray:
        x, y, z = place[0] - shift, place[1], place[2] + shift / 2
        return (x / 0.36) ** 2 + (y / 0.34) ** 2 + (z / 0.32) ** 2 < 1 + 0.08 * np.sin(40 * x) * np.cos(33 * y)

    return body(0.0), body(0.02)


def ours(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    found = surface.surfaces(truth, prediction, 1, AFFINE)
    return surface.hd95(found), surface.nsd(found, TOLERANCE_MM)


def monais(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    pair = [torch.from_numpy(a)[None, None].float() for a in (prediction, truth)]
    hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95)
    nsd = compute_surface_dice(*pair, class_thresholds=[TOLERANCE_MM], include_background=True)
    return float(hd95), float(nsd)


def rows(folder: Path) -> Iterator[Row]:
    truth, prediction = volumes()
    mine, theirs = ours(truth, prediction), monais(truth, prediction)
    equal = bool(np.allclose(mine, theirs, atol=ALIKE))
    found = fastest({"medvfm": lambda: ours(truth, prediction), "peer": lambda: monais(truth, prediction)}, 2)
    np.save(folder / "volumes.npy", np.stack([truth, prediction]))
    memory = {name: _memory(name, folder) for name in ("nothing", "ours", "monais")}
    share = (memory["ours"] - memory["nothing"]) / max(memory["monais"] - memory["nothing"], 1)
    workload = (
        f"HD95 and surface Dice at {TOLERANCE_MM:g} mm of {SIDE}^3 voxels; equal to {ALIKE:g}; "
        f"memory beyond the volumes {memory['ours'] - memory['nothing']} MiB, the peer's "
        f"{memory['monais'] - memory['nothing']} MiB ({share:.2f})"
    )
    yield Row("surfaces", workload, "MONAI", found["medvfm"], found["peer"], 4, equal)


def _memory(name: str, folder: Path) -> int:
    """Peak MiB of a process that reads the volumes, imports both libraries, and calls one of them, or nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.surfaces", name, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def main() -> None:
    import monai.metrics  # noqa: F401

    truth, prediction = np.load(Path(sys.argv[2]) / "volumes.npy")
    call = {"ours": ours, "monais": monais, "nothing": lambda truth, prediction: None}[sys.argv[1]]
    call(truth, prediction)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()

"""A finished run as a verification model: what its adapter makes of pictures, for tasks that ask whose they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medvfm.core.capabilities import EncodingAdapter
from medvfm.core.errors import RunError
from medvfm.core.protocols import Record
from medvfm.core.task_capabilities import VerifiedTask
from medvfm.engine.plan import Plan
from medvfm.pipeline.predicting import Finished


@dataclass(frozen=True, eq=False)
class RunEncoder:
    """Features of pictures by the adapter of a run. See tasks.generation.set_features.FeatureNetwork."""

    adapter: EncodingAdapter
    record: Record

    def features(self, images: Tensor) -> Tensor:
        """(n, d) float32 on the CPU, of images (n, 1 or 3, h, w) in [0, 1], read as pictures of 8 bits are."""
        levels = (images.clamp(0, 1) * 255).round().byte().cpu().numpy()
        given = [one[0] if len(one) == 1 else np.moveaxis(one, 0, 2) for one in levels]
        return torch.from_numpy(np.asarray(self.adapter.encode(given, progress=False))).float()


def with_verifiers(plan: Plan) -> Plan:
    """The plan, whose tasks can load the runs that they name as verification models."""
    entries = [
        replace(entry, task=entry.task.verified_by(partial(encoder_of, run)))
        if isinstance(entry.task, VerifiedTask) and (run := entry.task.verifying_run) is not None
        else entry
        for entry in plan.tasks
    ]
    return replace(plan, tasks=entries)


def encoder_of(run: str) -> RunEncoder:
    """The adapter of a finished run; RunError where it encodes no images."""
    finished = Finished.of(Path(run).expanduser())
    model = finished.model()
    adapter = model.adapters[0]
    if not isinstance(adapter, EncodingAdapter):
        raise RunError("its model has no features of images", where=run, remedy="name a run of dinov2")
    adapter.module.eval()
    return RunEncoder(adapter, {"name": "run", "weights": f"the run {model.name}", "sha256": None})

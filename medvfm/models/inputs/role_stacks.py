"""Images of several roles of a case, such as one from today and one before, each as its slices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medvfm.core.case import Case
from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.models.inputs.slice_stacks import SliceStackPreparer

SHOWN = "shown"


def files_of(case: Case, roles: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """The files of those of the roles that the case has, in the order of the roles. Raises UnreadableImage for a case
    with none of them."""
    found = {role: tuple(case.images[role]) for role in roles if role in case.images}
    if not found:
        raise UnreadableImage(f"{case.case_id} has no image in the roles {', '.join(roles)}")
    return found


@dataclass(frozen=True)
class RoleStackPreparer(SliceStackPreparer):
    """See SliceStackPreparer. `pixels` holds the slices of all roles one after the other, `shown` how many each has."""

    roles: tuple[str, ...] = ("image",)

    def key(self) -> str:
        text = "|".join((super().key(), *self.roles))
        return f"roles-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def files(self, case: Case) -> tuple[Path, ...]:
        return tuple(path for own in files_of(case, self.roles).values() for path in own)

    def arrays(self, images: Sequence[Image], case: Case) -> dict[str, np.ndarray]:
        each, counts = iter(self.of_image(image) for image in images), []
        stacks: list[np.ndarray] = []
        for own in files_of(case, self.roles).values():
            mine = [next(each) for _ in own]
            counts.append(sum(len(stack) for stack in mine))
            stacks += mine
        channels = max(stack.shape[1] for stack in stacks)
        wide = [np.repeat(stack, channels // stack.shape[1], axis=1) for stack in stacks]
        return {"pixels": np.concatenate(wide), SHOWN: np.array(counts)}


def counts(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Slices of each role; all of them where there is one."""
    return [int(n) for n in arrays[SHOWN]] if SHOWN in arrays else [len(arrays["pixels"])]

"""What a recipe and a command may say to restoration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from medvfm.core.degradation import Degradation

LEVEL, FACTOR = 0.1, 2


class RestorationOptions(BaseModel):
    """What `task.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    degrade: Literal["gaussian", "rician", "lower_resolution"] = Field(
        "gaussian", description="how images are spoilt: gaussian or rician noise, or lower_resolution"
    )
    level: float | None = Field(
        None, gt=0, le=1, description="of noise: its standard deviation, as a share of the range of an image; null: 0.1"
    )
    factor: int | None = Field(
        None, ge=2, le=16, description="of lower resolution: pixels a side that become one; null: 2"
    )
    images: int = Field(1, ge=1, le=100, description="how many are drawn for each case; the answer is their mean")

    @property
    def degradation(self) -> Degradation:
        return Degradation(self.degrade, self.level or LEVEL, self.factor or FACTOR)


class GivenRestorationOptions(BaseModel):
    """What `medvfm evaluate restoration` takes besides two folders of pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    allow_missing: bool = False

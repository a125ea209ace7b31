"""What a recipe and a command may say to generation."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from medvfm.core.options import NamedPath, PathOrName


class GenerationOptions(BaseModel):
    """What `task.options` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    extractor: NamedPath = Field(
        "embedded",
        description="whose features sets are compared in: embedded, inception:FILE, dinov2:WEIGHTS or clip:WEIGHTS",
    )
    extractor_px: int | None = Field(None, ge=32, description="side that images are resized to; null: the extractor's")
    clip: PathOrName | None = Field(
        None, description="a CLIP (owner/name, a folder) whose cosine of each image and its words is clip_score"
    )
    reidentification: NamedPath | None = Field(
        None,
        description="a verification model, as extractor names one, that says whether a made image is of a training "
        "patient: dinov2:WEIGHTS, clip:WEIGHTS, embedded, or run:FOLDER, a finished run",
    )
    images: int = Field(1, ge=1, le=1000, description="how many are made for each condition")
    per_condition: bool = Field(True, description="numbers also of the images of each class alone")
    held_out: tuple[dict[str, bool | int | float | str], ...] = Field(
        (),
        description="combinations of conditions, as [{lesion: true, ventricles: true}] or [{lesion: true, sex: F}], "
        "whose cases train nothing: test cases that have one ask for it, and it is scored as a group of its own",
    )
    blinded: bool = Field(False, description="also sheets of real and made images in random order, with their key")


class GivenOptions(BaseModel):
    """What `medvfm evaluate generation` takes besides two folders of pictures, or two tables of features."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    extractor: str = "embedded"
    extractor_px: int | None = None

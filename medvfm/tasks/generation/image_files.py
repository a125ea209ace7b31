"""Made images as files that say what made them: PNG and DICOM of pictures, NIfTI of volumes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from medvfm.core.array import Array
from medvfm.core.case import Case
from medvfm.core.errors import RecipeError
from medvfm.core.image import Image
from medvfm.core.made_images import MadeImages
from medvfm.io.run_directory import write_bytes
from medvfm.io.writers import file_names

AUTO, NIFTI = "auto", "nifti"
FORMATS = (AUTO, "png", "png16", "dicom", NIFTI)  # auto: png of pictures, nifti of volumes


def said_of(made: MadeImages, more: Mapping[str, str]) -> list[dict[str, str]]:
    """What each file says of the image in it."""
    return [
        {
            name: words
            for name, words in {"prompt": made.asked, "seed": str(seed), "how": made.how, **more}.items()
            if words
        }
        | {"made": "by a model"}
        for seed in made.seeds
    ]


def saved(folder: Path, case: Case, made: MadeImages) -> list[str]:
    """Write the images of a case below a run's folder; the names of the files."""
    files, suffix = written(made, said_of(made, {}))
    stem = case.stem or file_names.stem(case.case_id)
    names = [f"images/{stem}-{number + 1}{suffix}" for number in range(len(files))]
    for name, content in zip(names, files, strict=True):
        write_bytes(folder / name, content)
    return names


def written(made: MadeImages, said: Sequence[Mapping[str, str]], form: str = AUTO) -> tuple[list[bytes], str]:
    """Images in a format of FORMATS, and the suffix of their files; `said` of each stands in it. RecipeError for a
    format of pictures where volumes were made, and the other way round."""
    images = list(made.pixels)
    volumes = made.pixels.ndim == 5
    if form != AUTO and volumes != (form == NIFTI):
        what, other = ("a volume", NIFTI) if volumes else ("a picture", "png")
        raise RecipeError(f"{what} was made, and {form} holds none", where="--format", remedy=f"take {other}")
    if volumes:
        return [_nifti(one, words, made.spacing_mm) for one, words in zip(images, said, strict=True)], ".nii.gz"
    if form == "dicom":
        from medvfm.io.writers import secondary_capture  # pydicom is slow to import

        return secondary_capture.series(images, said), ".dcm"
    bits = 16 if form == "png16" else 8
    return [png(one, words, bits=bits) for one, words in zip(images, said, strict=True)], ".png"


def _nifti(pixels: Array, said: Mapping[str, str], spacing_mm: tuple[float, float, float] | None) -> bytes:
    """A volume (S, H, W, 1) in [0, 1] as NIfTI of float32, its middle at 0; `said` stands in a comment."""
    from medvfm.io.writers import nifti

    assert spacing_mm is not None
    between, down, across = spacing_mm
    voxels = np.ascontiguousarray(pixels[..., 0].transpose(2, 1, 0), np.float32)
    affine = np.diag([-across, -down, between, 1.0])  # columns to the left, rows to the back, slices to the head
    affine[:3, 3] = -affine[:3, :3] @ (np.array(voxels.shape) - 1) / 2
    comment = "\n".join(f"{name}: {words}" for name, words in said.items())
    return nifti.as_bytes(Image(voxels, affine), compressed=True, comment=comment)


def png(pixels: Array, said: Mapping[str, str], *, bits: int = 8) -> bytes:
    """An image (H, W, C) in [0, 1] with 1 or 3 channels as PNG of 8 bits, or of 16 where it is grey; `said` stands in
    text chunks."""
    grey = pixels.shape[2] == 1
    most = 65535 if bits == 16 and grey else 255
    levels = (np.clip(pixels, 0, 1) * most).round().astype(np.uint16 if most > 255 else np.uint8)
    info = PngInfo()
    for name, words in said.items():
        info.add_itxt(name, words)
    out = io.BytesIO()
    Picture.fromarray(levels[..., 0] if grey else levels).save(out, format="PNG", pnginfo=info)
    return out.getvalue()

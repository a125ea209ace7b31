"""Images inside array files (.npz, HDF5) and Parquet tables, extracted once to the cache as files of their own."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from medvfm.core.errors import DataError
from medvfm.core.image import Image
from medvfm.core.layout import Arrays
from medvfm.io import cache
from medvfm.io.atomic_write import atomic_write
from medvfm.io.dataset.content_hash import content_key
from medvfm.io.dataset.safe_paths import Inside
from medvfm.io.writers.nifti import write_nifti

LIMIT_BYTES = 16 * 2**30  # of one array; they are read one after the other


def arrays(wanted: Arrays, inside: Inside) -> Iterator[tuple[dict[str, Any], str]]:
    """Fields of each image in an array file: case_id, split, image (a Path below the cache), label or labels."""
    for split in wanted.splits:
        named = wanted.names.get(split, split)
        path = inside.path(wanted.file.format(split=named))
        files = _images(path, wanted.images, wanted.images.format(split=named))
        beside = inside.path((wanted.labels_file or wanted.file).format(split=named))
        with _opened(beside) as held:
            labels = np.asarray(_array(held, wanted.labels.format(split=named), beside))
        if len(labels) != len(files):
            raise DataError(f"{len(labels)} labels for {len(files)} images of {split}", where=beside)
        for number, (file, label) in enumerate(zip(files, labels.reshape(len(labels), -1), strict=True)):
            fields = {"label": label[0]} if len(label) == 1 else {f"label_{n}": v for n, v in enumerate(label)}
            case_id = f"{split}_{number:06d}"
            plain = {key: value.item() for key, value in fields.items()}
            yield {"case_id": case_id, "split": split, "image": file, **plain}, case_id


def _images(path: Path, key: str, name: str) -> list[Path]:
    """The written files of one array, in order."""
    with _opened(path) as held:
        folder = _folder("arrays", f"{content_key([path])}|{key}")
        if not (folder / f"{name}.done").is_file():
            _write_out(_array(held, name, path), folder, name)
    return sorted((folder / name).iterdir())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An .npz archive, or an HDF5 file, whose arrays are read from disk on access."""
    if not path.is_file():
        raise DataError("no such file", where=path)
    try:
        if path.suffix in (".h5", ".hdf5"):
            import h5py

            with h5py.File(path) as file:
                yield file
        else:
            with np.load(path, allow_pickle=False) as archive:
                yield archive
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as broken:
        raise DataError(f"not readable as arrays: {str(broken)[:100]}", where=path) from broken


def embedded(records: list[dict[str, Any]], column: str, path: Path) -> list[dict[str, Any]]:
    """Rows of a Parquet table whose `column` holds image files, with the paths of the written files in its place."""
    if records and column not in records[0]:
        raise DataError(f"no column {column!r} with embedded images", where=path)
    folder = _folder("embedded", column)
    found = []
    for record in records:
        cell = record[column]
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes) or not content:
            found.append({**record, column: "", "sha256": ""})
            continue
        digest = hashlib.sha256(content).hexdigest()
        file = folder / digest[:2] / f"{digest[:32]}{_suffix(content)}"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(file) as part:
                part.write_bytes(content)
        found.append({**record, column: file, "sha256": digest[:32]})
    return found


def _suffix(content: bytes) -> str:
    known = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"II*\0": ".tif", b"MM\0*": ".tif"}
    return next((suffix for magic, suffix in known.items() if content.startswith(magic)), "")


def _folder(kind: str, key: str) -> Path:
    return cache.folder("unpacked") / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _array(held: Any, name: str, path: Path) -> Any:
    """One array, after a look at its size; nothing that is not numbers is read."""
    if name not in held:
        raise DataError(f"no array {name!r}; there are: {', '.join(held)}", where=path)
    if not isinstance(held, np.lib.npyio.NpzFile):
        return _of_hdf5(held, name, path)
    assert held.zip is not None
    size = held.zip.getinfo(f"{name}.npy").file_size
    if size > LIMIT_BYTES:
        raise DataError(f"the array {name} takes {size:,} bytes, more than {LIMIT_BYTES:,}", where=path)
    return held[name]


def _of_hdf5(held: Any, name: str, path: Path) -> Any:
    """An array that is read image by image; one that another file holds is refused, since a link leads anywhere."""
    import h5py

    array = held[name] if isinstance(held.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise DataError(f"{name!r} is no array of this file", where=path)
    return array


def _write_out(images: Any, folder: Path, name: str) -> None:
    """(n, h, w) or (n, h, w, 3) uint8 as PNG files; (n, d, h, w) as NIfTI files in voxels without a spacing."""
    colour = images.ndim == 4 and images.shape[-1] == 3
    if images.ndim not in (3, 4) or images.dtype != np.uint8:
        raise DataError(f"images of shape {images.shape} and type {images.dtype}; expected uint8 pictures or volumes")
    folder.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        for number, voxels in enumerate(images):
            if images.ndim == 3 or colour:
                Picture.fromarray(voxels).save(part / f"{number:06d}.png")
            else:
                write_nifti(Image(voxels, np.eye(4), has_spacing=False), part / f"{number:06d}.nii.gz")
        shutil.rmtree(folder / name, ignore_errors=True)
        part.replace(folder / name)
        (folder / f"{name}.done").touch()
    finally:
        shutil.rmtree(part, ignore_errors=True)

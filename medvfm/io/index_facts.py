"""What the header of one file says, for the index: any format, no pixel decoded, and nobody named unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from medvfm.core import geometry
from medvfm.core.errors import UnreadableImage
from medvfm.io import bounded, dicom_series, index_names, metaimage, nifti, nrrd, patients, raster, tiff
from medvfm.io.dicom_dictionary import NATIVE
from medvfm.io.dicom_geometry import Plane
from medvfm.io.dicom_header import Header
from medvfm.io.dicom_pixel_format import PixelFormat
from medvfm.io.dicom_series import FileFacts
from medvfm.io.index_names import Token
from medvfm.io.read import image_kind

ENDINGS = (
    ".dcm", ".ima", ".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd",
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif",
)  # fmt: skip
_ARCHIVE = "an archive, whose files are not listed: unpack it first"


@dataclass(frozen=True)
class Entry:
    """One file of the tree. `dicom` is there where it is a DICOM file; else size and place as its header has them.

    tokens  the words that identify its patient, as keyed hashes
    """

    kind: str
    problem: str | None = None
    notes: tuple[str, ...] = ()
    shape_vox: tuple[int, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    orientation: str | None = None
    volumes: int = 1
    dicom: FileFacts | None = None
    tokens: tuple[Token, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Describer:
    """Describes files, in this process or another. Without `identifiers`, patients and UIDs become keyed hashes."""

    key: bytes = field(repr=False)
    identifiers: bool
    limit_gib: float = 4.0

    def __call__(self, path: Path) -> Entry | None:
        """None for what is no image and does not claim to be one by its name."""
        try:
            scanned = dicom_series.scan(path, self.limit_gib)
            return self._other(path) if scanned is None else self._dicom(path, *scanned)
        except UnreadableImage as error:
            return Entry("", problem=error.what) if _claims(path) else None
        except OSError as error:
            return Entry("", problem=f"cannot be read ({error.strerror})")
        except Exception as error:  # decoders raise whatever a damaged file makes them trip over
            return Entry("", problem=f"damaged file ({type(error).__name__})")

    def _dicom(self, path: Path, facts: FileFacts, header: Header | None, form: PixelFormat | None) -> Entry:
        if header is not None and form is not None and facts.problem is None:
            facts = replace(facts, problem=_cut(header, form))
        if header is None:
            with path.open("rb") as file:
                words = index_names.words_in_bytes(file.read(1 << 16))
        else:
            words = index_names.words_of(header)
        if self.identifiers:
            return Entry("dicom", dicom=facts)
        planes = tuple(replace(p, frame_of_reference=self._uid(p.frame_of_reference)) for p in facts.planes)
        hidden = replace(
            facts,
            patient_id=patients.hashed(facts.patient_id, self.key) if facts.patient_id else "",
            study_uid=self._uid(facts.study_uid),
            series_uid=self._uid(facts.series_uid),
            instance_uid=self._uid(facts.instance_uid),
            planes=planes,
        )
        return Entry("dicom", dicom=hidden, tokens=index_names.tokens_of(words, self.key))

    def _uid(self, uid: str) -> str:
        return patients.hashed(uid, self.key, "uid") if uid else ""

    def _other(self, path: Path) -> Entry | None:
        kind = image_kind(path)
        if kind == "dicom" or (kind == "nifti" and path.name.removesuffix(".gz").endswith(".img")):
            return None  # a DICOMDIR, or the voxels of a .hdr that has a row of its own
        if kind == "zip":
            return Entry(kind, problem=_ARCHIVE) if path.suffix.lower() == ".zip" else None
        try:
            return _HEADERS.get(kind, _picture(kind))(path)
        except UnreadableImage as error:
            return Entry(kind, problem=error.what)
        except OSError as error:
            return Entry(kind, problem=f"cannot be read ({error.strerror or type(error).__name__})")
        except Exception as error:  # decoders raise whatever a damaged file makes them trip over
            return Entry(kind, problem=f"damaged {kind} file ({type(error).__name__})")


def _claims(path: Path) -> bool:
    """Whether a file that is no image is named like one; scanners write DICOM files without any ending."""
    return path.name.lower().endswith(ENDINGS) or (not path.suffix and path.stat().st_size == 0)


def _cut(header: Header, form: PixelFormat) -> str | None:
    """What is missing of native pixels, told by lengths alone."""
    pixels, size = header.pixels, header.source.size
    if pixels is None or size is None or header.syntax not in NATIVE:
        return None
    _, at, length = pixels[1]
    if length < form.native_bytes:
        return f"its pixel data have {length:,} bytes, and its header announces {form.native_bytes:,}"
    if at + form.native_bytes > size:
        return f"the file ends early: {max(0, size - at):,} bytes of {form.native_bytes:,} of the pixels are there"
    return None


def _nifti(path: Path) -> Entry:
    header = nifti.read_header(path)
    nbytes = header.times * header.channels * header.dtype.itemsize
    for side in header.shape_vox:
        nbytes *= side
    gzipped = bounded.is_gzip(header.data_path)
    bounded.refuse_short_file(header.data_path, header.offset + nbytes, gzipped=gzipped)
    return _placed("nifti", header.shape_vox, header.affine, header.times * header.channels, header.repairs)


def _nrrd(path: Path) -> Entry:
    return _placed("nrrd", *nrrd.read_grid(path))


def _metaimage(path: Path) -> Entry:
    return _placed("metaimage", *metaimage.read_grid(path))


def _tiff(path: Path) -> Entry:
    return Entry("tiff", shape_vox=tiff.read_size(path))


def _picture(kind: str) -> Callable[[Path], Entry]:
    return lambda path: Entry(kind, shape_vox=(*raster.read_size(path, kind), 1))


_HEADERS: Mapping[str, Callable[[Path], Entry]] = {
    "nifti": _nifti, "nrrd": _nrrd, "metaimage": _metaimage, "tiff": _tiff,
}  # fmt: skip


def _placed(kind: str, shape_vox: tuple[int, ...], affine: Any, volumes: int, notes: tuple[str, ...] = ()) -> Entry:
    spacing_mm = geometry.spacing_mm(affine)
    return Entry(
        kind, notes=notes, shape_vox=shape_vox, spacing_mm=spacing_mm, orientation=geometry.orientation(affine),
        volumes=volumes,
    )  # fmt: skip


def as_data(entry: Entry) -> dict[str, Any]:
    """For JSON; what is empty is left out, and the path, which the walk knows."""
    data = {k: v for k, v in vars(entry).items() if v not in (None, ())}
    if entry.dicom is not None:
        data["dicom"] = {k: v for k, v in asdict(entry.dicom).items() if k != "path"}
    return data


def from_data(data: Mapping[str, Any], path: Path) -> Entry:
    """The entry again, lists as tuples."""
    found: dict[str, Any] = {k: _frozen(v) for k, v in data.items() if k != "dicom"}
    if "dicom" in data:
        facts = {k: _frozen(v) for k, v in data["dicom"].items() if k != "planes"}
        planes = tuple(Plane(**{k: _frozen(v) for k, v in p.items()}) for p in data["dicom"]["planes"])
        found["dicom"] = FileFacts(path=path, planes=planes, **facts)
    return Entry(**found)


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(v) for v in value)
    return {k: _frozen(v) for k, v in value.items()} if isinstance(value, dict) else value

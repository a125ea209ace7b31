"""Every file with pixels of pydicom, of pydicom-data and of the shared sets: equal to pydicom's own pixels, or refused.

A row says what becomes of a file: the shape of its voxels, or the reason. A file without a row fails, and so does a row
without a file.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from medvfm.core.errors import UnreadableImage
from medvfm.core.image import Image
from medvfm.io.dicom import header as dicom_header
from medvfm.io.dicom import read
from medvfm.io.dicom.pixel_format import pixel_format
from medvfm.io.dicom.pixels import read_stored
from tests.samples.dicom import pydicom_folder

data_store = pytest.importorskip("data_store")
EXTRA = Path(data_store.__file__).parent / "data"

NO_PLACE = "10 of 10 slices state no position or orientation"
DELIMITER = "a compressed frame of 3722445056 x 1024 x 1, and its header declares 256 x 1024 x 1"
NO_BITS = "it states no BitsAllocated"

# what pydicom itself cannot decode, and another witness for it
NOT_BY_PYDICOM = {"JPEG-lossy.dcm": "SimpleITK", "JPGExtended.dcm": "SimpleITK"}
PYDICOM: dict[str, tuple[int, ...] | str] = {
    "charset_files/chrArab.dcm": (32, 32, 1),
    "charset_files/chrFren.dcm": (32, 32, 1),
    "charset_files/chrFrenMulti.dcm": (32, 32, 1),
    "charset_files/chrGerm.dcm": (32, 32, 1),
    "charset_files/chrGreek.dcm": (32, 32, 1),
    "charset_files/chrH31.dcm": (32, 32, 1),
    "charset_files/chrH32.dcm": (32, 32, 1),
    "charset_files/chrHbrw.dcm": (32, 32, 1),
    "charset_files/chrI2.dcm": (32, 32, 1),
    "charset_files/chrRuss.dcm": (32, 32, 1),
    "charset_files/chrX1.dcm": (32, 32, 1),
    "charset_files/chrX2.dcm": (32, 32, 1),
    "test_files/693_J2KI.dcm": (512, 512, 1),
    "test_files/CT_small.dcm": (128, 128, 1),
    "test_files/ExplVR_BigEnd.dcm": (80, 60, 1, 3),
    "test_files/GDCMJ2K_TextGBR.dcm": (400, 400, 1, 3),
    "test_files/J2K_pixelrep_mismatch.dcm": (512, 512, 1),
    "test_files/JPEG-lossy.dcm": (256, 1024, 1),
    "test_files/JPEG2000-embedded-sequence-delimiter.dcm": DELIMITER,
    "test_files/JPEG2000.dcm": (256, 1024, 1),
    "test_files/JPEGLSNearLossless_08.dcm": (10, 45, 1),
    "test_files/JPEGLSNearLossless_16.dcm": (10, 50, 1),
    "test_files/JPGExtended.dcm": (256, 1024, 1),
    "test_files/MR_small.dcm": (64, 64, 1),
    "test_files/MR_small_RLE.dcm": (64, 64, 1),
    "test_files/MR_small_bigendian.dcm": (64, 64, 1),
    "test_files/MR_small_expb.dcm": (64, 64, 1),
    "test_files/MR_small_implicit.dcm": (64, 64, 1),
    "test_files/MR_small_jp2klossless.dcm": (64, 64, 1),
    "test_files/MR_small_jpeg_ls_lossless.dcm": (64, 64, 1),
    "test_files/MR_small_padded.dcm": (64, 64, 1),
    "test_files/MR_truncated.dcm": "the file ends early: 8,130 bytes of pixels, and its header declares 8,192",
    "test_files/SC_jpeg_no_color_transform.dcm": (256, 256, 1, 3),
    "test_files/SC_jpeg_no_color_transform_2.dcm": (256, 256, 1, 3),
    "test_files/SC_rgb_dcmtk_+eb+cr.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_dcmtk_+eb+cy+n1.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_dcmtk_+eb+cy+n2.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_dcmtk_+eb+cy+np.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_dcmtk_+eb+cy+s2.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_dcmtk_+eb+cy+s4.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_gdcm_KY.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_jls_lossy_line.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_jls_lossy_sample.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_jpeg.dcm": (256, 256, 1, 3),
    "test_files/SC_rgb_jpeg_app14_dcmd.dcm": (256, 256, 1, 3),
    "test_files/SC_rgb_jpeg_dcmd.dcm": (256, 256, 1, 3),
    "test_files/SC_rgb_jpeg_dcmtk.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_jpeg_gdcm.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_jpeg_lossy_gdcm.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_rle.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_rle_16bit.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_rle_16bit_2frame.dcm": (100, 100, 2, 3),
    "test_files/SC_rgb_rle_2frame.dcm": (100, 100, 2, 3),
    "test_files/SC_rgb_rle_32bit.dcm": (100, 100, 1, 3),
    "test_files/SC_rgb_rle_32bit_2frame.dcm": (100, 100, 2, 3),
    "test_files/SC_rgb_small_odd.dcm": (3, 3, 1, 3),
    "test_files/SC_rgb_small_odd_big_endian.dcm": (3, 3, 1, 3),
    "test_files/SC_rgb_small_odd_jpeg.dcm": (3, 3, 1, 3),
    "test_files/SC_ybr_full_422_uncompressed.dcm": (100, 100, 1, 3),
    "test_files/badVR.dcm": "NumberOfFrames is no number",
    "test_files/dicomdirtests/77654033/CR1/6154": (16, 16, 1),
    "test_files/dicomdirtests/77654033/CR2/6247": (16, 16, 1),
    "test_files/dicomdirtests/77654033/CR3/6278": (16, 16, 1),
    "test_files/dicomdirtests/77654033/CT2/17106": (16, 16, 1),
    "test_files/dicomdirtests/77654033/CT2/17136": (16, 16, 1),
    "test_files/dicomdirtests/77654033/CT2/17166": (16, 16, 1),
    "test_files/dicomdirtests/77654033/CT2/17196": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT2N/6293": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT2N/6924": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT5N/2062": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT5N/2392": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT5N/2693": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT5N/3023": (16, 16, 1),
    "test_files/dicomdirtests/98892001/CT5N/3353": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR1/15820": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR1/4919": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR1/5641": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/15970": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/4950": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/4981": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/5011": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/6273": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/6605": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR2/6935": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4467": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4528": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4558": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4588": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4618": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4648": (16, 16, 1),
    "test_files/dicomdirtests/98892003/MR700/4678": (16, 16, 1),
    "test_files/examples_jpeg2k.dcm": (640, 480, 1, 3),
    "test_files/examples_overlay.dcm": (484, 300, 1),
    "test_files/examples_palette.dcm": (800, 350, 1, 3),
    "test_files/examples_rgb_color.dcm": (320, 240, 1, 3),
    "test_files/examples_ybr_color.dcm": (320, 240, 30, 3),
    "test_files/image_dfl.dcm": (512, 512, 1),
    "test_files/liver_1frame.dcm": "1 frames, and 3 descriptions of frames",
    "test_files/liver_expb_1frame.dcm": "1 frames, and 3 descriptions of frames",
    "test_files/meta_missing_tsyntax.dcm": NO_BITS,
    "test_files/nested_priv_SQ.dcm": NO_BITS,
    "test_files/rtdose.dcm": (10, 10, 15),
    "test_files/rtdose_1frame.dcm": (10, 10, 1),
    "test_files/rtdose_expb.dcm": (10, 10, 15),
    "test_files/rtdose_expb_1frame.dcm": (10, 10, 1),
    "test_files/rtdose_rle.dcm": (10, 10, 15),
    "test_files/rtdose_rle_1frame.dcm": (10, 10, 1),
}
PYDICOM_DATA: dict[str, tuple[int, ...] | str] = {
    "693_J2KR.dcm": (512, 512, 1),
    "693_UNCI.dcm": (512, 512, 1),
    "693_UNCR.dcm": (512, 512, 1),
    "JPEG-LL.dcm": (256, 1024, 1),
    "JPEG2000_UNC.dcm": (256, 1024, 1),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": (1024, 768, 1),
    "MR-SIEMENS-DICOM-WithOverlays.dcm": (484, 484, 1),
    "MR2_J2KI.dcm": (1024, 1024, 1),
    "MR2_J2KR.dcm": (1024, 1024, 1),
    "MR2_UNCI.dcm": (1024, 1024, 1),
    "MR2_UNCR.dcm": (1024, 1024, 1),
    "OBXXXX1A.dcm": (800, 600, 1, 3),
    "OBXXXX1A_2frame.dcm": (800, 600, 2, 3),
    "OBXXXX1A_expb.dcm": (800, 600, 1, 3),
    "OBXXXX1A_expb_2frame.dcm": (800, 600, 2, 3),
    "OBXXXX1A_rle.dcm": (800, 600, 1, 3),
    "OBXXXX1A_rle_2frame.dcm": (800, 600, 2, 3),
    "OT-PAL-8-face.dcm": (640, 480, 1, 3),
    "RG1_J2KI.dcm": (1841, 1955, 1),
    "RG1_J2KR.dcm": (1841, 1955, 1),
    "RG1_UNCI.dcm": (1841, 1955, 1),
    "RG1_UNCR.dcm": (1841, 1955, 1),
    "RG3_J2KI.dcm": (1760, 1760, 1),
    "RG3_J2KR.dcm": (1760, 1760, 1),
    "RG3_UNCI.dcm": (1760, 1760, 1),
    "RG3_UNCR.dcm": (1760, 1760, 1),
    "SC_rgb.dcm": (100, 100, 1, 3),
    "SC_rgb_16bit.dcm": (100, 100, 1, 3),
    "SC_rgb_16bit_2frame.dcm": (100, 100, 2, 3),
    "SC_rgb_2frame.dcm": (100, 100, 2, 3),
    "SC_rgb_32bit.dcm": (100, 100, 1, 3),
    "SC_rgb_32bit_2frame.dcm": (100, 100, 2, 3),
    "SC_rgb_dcmtk_ebcr_dcmd.dcm": (100, 100, 1, 3),
    "SC_rgb_dcmtk_ebcyn1_dcmd.dcm": (100, 100, 1, 3),
    "SC_rgb_dcmtk_ebcyn2_dcmd.dcm": (100, 100, 1, 3),
    "SC_rgb_dcmtk_ebcynp_dcmd.dcm": (100, 100, 1, 3),
    "SC_rgb_dcmtk_ebcys2_dcmd.dcm": (100, 100, 1, 3),
    "SC_rgb_dcmtk_ebcys4_dcmd.dcm": (100, 100, 1, 3),
    "SC_rgb_expb.dcm": (100, 100, 1, 3),
    "SC_rgb_expb_16bit.dcm": (100, 100, 1, 3),
    "SC_rgb_expb_16bit_2frame.dcm": (100, 100, 2, 3),
    "SC_rgb_expb_2frame.dcm": (100, 100, 2, 3),
    "SC_rgb_expb_32bit.dcm": (100, 100, 1, 3),
    "SC_rgb_expb_32bit_2frame.dcm": (100, 100, 2, 3),
    "SC_rgb_gdcm2k_uncompressed.dcm": (100, 100, 1, 3),
    "SC_ybr_full_uncompressed.dcm": (100, 100, 1, 3),
    "US1_J2KI.dcm": (640, 480, 1, 3),
    "US1_J2KR.dcm": (640, 480, 1, 3),
    "US1_UNCI.dcm": (640, 480, 1, 3),
    "US1_UNCR.dcm": (640, 480, 1, 3),
    "bad_sequence.dcm": (512, 512, 1),
    "color-pl.dcm": (256, 120, 1, 3),
    "color-px.dcm": (256, 120, 1, 3),
    "color3d_jpeg_baseline.dcm": (640, 480, 120, 3),
    "eCT_Supplemental.dcm": (512, 512, 2),
    "emri_small.dcm": NO_PLACE,
    "emri_small_RLE.dcm": NO_PLACE,
    "emri_small_big_endian.dcm": NO_PLACE,
    "emri_small_jpeg_2k_lossless.dcm": NO_PLACE,
    "emri_small_jpeg_2k_lossless_too_short.dcm": NO_PLACE,
    "emri_small_jpeg_ls_lossless.dcm": NO_PLACE,
    "explicit_VR-UN.dcm": (512, 512, 1),
    "gdcm-US-ALOKA-16.dcm": (640, 480, 1, 3),
    "gdcm-US-ALOKA-16_big.dcm": (640, 480, 1, 3),
    "liver.dcm": (512, 512, 3),
    "liver_expb.dcm": (512, 512, 3),
    "mlut_18.dcm": (512, 512, 1),
    "vlut_04.dcm": (512, 512, 1),
}
SHARED: dict[str, tuple[int, ...] | str] = {
    "dicom_seg/ct_3slice/01.dcm": (512, 512, 1),
    "dicom_seg/ct_3slice/02.dcm": (512, 512, 1),
    "dicom_seg/ct_3slice/03.dcm": (512, 512, 1),
    "dicom_seg/ct_image.dcm": (128, 128, 1),
    "dicom_seg/dcmqi/liver.dcm": (512, 512, 3),
    "dicom_seg/dcmqi/partial_overlaps.dcm": "its segments overlap: 1 (GREEN) and 2 (ORANGE)",
    "dicom_seg/dx_image.dcm": (211, 169, 1),
    "dicom_seg/seg_image_cr_binary.dcm": (16, 16, 1),
    "dicom_seg/seg_image_ct_binary.dcm": (16, 16, 3),
    "dicom_seg/seg_image_ct_binary_fractional.dcm": (16, 16, 3),
    "dicom_seg/seg_image_ct_binary_overlap.dcm": "its segments overlap: 1 (first segment) and 2 (second segment)",
    "dicom_seg/seg_image_ct_binary_single_frame.dcm": (128, 128, 1),
    "dicom_seg/seg_image_ct_true_fractional.dcm": (16, 16, 3),
    "dicom_seg/seg_image_sm_control.dcm": (50, 50, 1),
    "dicom_seg/seg_image_sm_control_labelmap.dcm": (50, 50, 1),
    "dicom_seg/seg_image_sm_control_labelmap_palette_color.dcm": (50, 50, 1),
    "dicom_seg/seg_image_sm_dots.dcm": (50, 50, 1),
    "dicom_seg/seg_image_sm_dots_tiled_full.dcm": (50, 50, 1),
    "dicom_seg/seg_image_sm_numbers.dcm": (50, 50, 1),
    "dicom_seg/sm_image.dcm": (50, 50, 1, 3),
    "dicom_seg/sm_image_control.dcm": (50, 50, 1, 3),
    "dicom_seg/sm_image_dots.dcm": (50, 50, 1, 3),
    "dicom_seg/sm_image_grayscale.dcm": (50, 50, 1),
    "dicom_seg/sm_image_grayscale_reversed.dcm": (50, 50, 1),
    "dicom_seg/sm_image_jpegls.dcm": (50, 50, 1, 3),
    "dicom_seg/sm_image_jpegls_nobot.dcm": (50, 50, 1, 3),
    "dicom_seg/sm_image_numbers.dcm": (50, 50, 1, 3),
    "nih_cxr_dicom/test1.dcm": (1024, 1024, 1),
    "nih_cxr_dicom/test2.dcm": (1024, 1024, 1),
    "nih_cxr_dicom/test4.dcm": (1024, 1024, 1),
}


def files_with_pixels(folder: Path) -> dict[str, Path]:
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            try:
                ds = pydicom.dcmread(path, force=True)
                has_pixels = any(k in ds for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))
                has_pixels = has_pixels or (not len(ds) and read.is_dicom(path))  # cut in its pixels: pydicom gives up
            except Exception:
                has_pixels = read.is_dicom(path)
            if has_pixels:
                found[path.relative_to(folder).as_posix()] = path
    return found


def pydicom_pixels(path: Path) -> np.ndarray:
    """(frame, row, column[, 3]) after the LUTs, MONOCHROME1 inverted over the range of the stored bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        pixels = ds.pixel_array
        frames = int(ds.get("NumberOfFrames") or 1)
        pixels = pixels.reshape(frames, ds.Rows, ds.Columns, *([3] if ds.SamplesPerPixel == 3 else []))
        if ds.PhotometricInterpretation == "PALETTE COLOR" and ds.get("Modality") != "SEG":
            colour = apply_color_lut(pixels, ds)
            wide = ds.RedPaletteColorLookupTableDescriptor[2] == 16
            return (colour >> 8).astype(np.uint8) if wide else colour.astype(np.uint8)
        if ds.SamplesPerPixel == 3:
            return pixels
        if ds.PhotometricInterpretation == "MONOCHROME1":
            assert ds.PixelRepresentation == 0
            pixels = (1 << ds.BitsStored) - 1 - pixels.astype(np.int64)
        if ds.get("Modality") == "RTDOSE":
            return pixels * float(ds.DoseGridScaling)
        return apply_modality_lut(pixels, ds)


def simpleitk_pixels(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def placed_as_the_header_says(image: Image, path: Path) -> None:
    """Both ends of the diagonal of a single slice, in mm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path, force=True)
    keys = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    if not all(k in ds for k in keys) or "NumberOfFrames" in ds:
        return
    position, across, spacing = (np.array(ds[k].value, float) for k in keys)
    far = position + across[:3] * spacing[1] * (ds.Columns - 1) + across[3:] * spacing[0] * (ds.Rows - 1)
    for point, vox in ((position, (0, 0)), (far, (ds.Columns - 1, ds.Rows - 1))):
        np.testing.assert_allclose((image.affine @ [*vox, 0, 1])[:3], point * [-1, -1, 1], atol=5e-3)


def check(name: str, path: Path, said: tuple[int, ...] | str) -> None:
    if isinstance(said, str):
        with pytest.raises(UnreadableImage) as caught:
            read.read_file(path)
        assert caught.value.what == said
        return
    image = read.read_file(path)
    voxels = image.voxels
    assert voxels.shape == said
    if "seg_image" in name or "liver" in name or "sm_image" in name:
        return  # segmentations and slides: their own tests, beside the stored pixels below
    placed_as_the_header_says(image, path)
    if "_expb" in name and "OBXXXX1A" in name:
        path = path.with_name(name.replace("_expb", ""))  # pydicom does not swap the bytes of big-endian palettes
    theirs = simpleitk_pixels(path) if name.rpartition("/")[2] in NOT_BY_PYDICOM else pydicom_pixels(path)
    ours = voxels.transpose(2, 1, 0, *range(3, voxels.ndim))
    if name.endswith("eCT_Supplemental.dcm"):
        ours = ours[::-1]  # its frames run against the normal of their plane
        theirs = theirs.astype(np.int64) - 1024 if theirs.min() >= 0 else theirs
    if ours.dtype.kind == theirs.dtype.kind == "u":
        assert np.array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-6, atol=0)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


@pytest.mark.parametrize(("name", "said"), PYDICOM.items(), ids=list(PYDICOM))
def test_pydicom(name, said):
    check(name, pydicom_folder() / name, said)


@pytest.mark.parametrize(("name", "said"), PYDICOM_DATA.items(), ids=list(PYDICOM_DATA))
def test_pydicom_data(name, said):
    check(name, EXTRA / name, said)


@pytest.mark.parametrize(("name", "said"), SHARED.items(), ids=list(SHARED))
def test_shared(name, said, shared_data):
    check(name, shared_data / name, said)


def test_no_file_is_forgotten(shared_data):
    assert set(files_with_pixels(pydicom_folder())) == set(PYDICOM)
    assert set(files_with_pixels(EXTRA)) == set(PYDICOM_DATA)
    folders = ("dicom_seg", "nih_cxr_dicom")
    shared = {f"{f}/{name}" for f in folders for name in files_with_pixels(shared_data / f)}
    assert shared == set(SHARED)


def test_stored_pixels_equal_those_of_pydicom(shared_data):
    """Also of what has no place as an image: frames without positions, segments, tiles."""
    compared = 0
    for folder in (pydicom_folder(), EXTRA, shared_data / "dicom_seg"):
        for path in files_with_pixels(folder).values():
            if path.name == "color3d_jpeg_baseline.dcm":
                continue  # 120 frames, compared above
            try:
                with dicom_header.opened(path) as header:
                    stored, _ = read_stored(header, pixel_format(header, 4.0))
            except UnreadableImage:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds = pydicom.dcmread(path, force=True)
                if path.name in NOT_BY_PYDICOM:
                    continue
                if "TransferSyntaxUID" not in ds.file_meta:
                    ds.file_meta.TransferSyntaxUID = header.syntax
                theirs = ds.pixel_array.reshape(stored.shape)
            assert np.array_equal(stored, theirs), path.name
            compared += 1
    assert compared == 193

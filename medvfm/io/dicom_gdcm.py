"""One compressed frame through GDCM, without its file parser, which deep nesting crashes."""

from __future__ import annotations

from medvfm.io.dicom.pixel_format import PixelFormat


def gdcm_pixels(packed: bytes, form: PixelFormat, uid: str, colour: str, width: int, bits: int) -> bytes:
    """The decoded samples of one frame, `width` bits apart, `bits` of them used."""
    import gdcm  # large, and rarely needed

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(packed)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((form.columns, form.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(colour)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if form.samples > 1:
        image.SetPlanarConfiguration(int(form.planar))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(uid)))
    image.SetPixelFormat(gdcm.PixelFormat(form.samples, width, bits, bits - 1, int(form.signed)))
    return image.GetBuffer().encode("utf-8", "surrogateescape")  # gdcm hands char* over as str

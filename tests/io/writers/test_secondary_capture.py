"""Made images as Secondary Capture: pixels of grey and of colour, and nothing that a person could be taken for."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest

from medvfm.io.writers import secondary_capture


@pytest.mark.parametrize(("channels", "most", "form"), [(1, 65535, "MONOCHROME2"), (3, 255, "RGB")])
def test_pixels_are_those_that_were_given(channels, most, form):
    pixels = np.random.default_rng(0).uniform(-0.1, 1.1, (5, 7, channels))
    file = pydicom.dcmread(io.BytesIO(secondary_capture.series([pixels], [{"seed": "3"}])[0]))
    expected = np.clip(pixels, 0, 1) * most
    assert file.PhotometricInterpretation == form
    assert np.abs(file.pixel_array.reshape(pixels.shape) - expected).max() <= 0.5
    assert "PixelSpacing" not in file and "ImagePositionPatient" not in file
    assert file.PatientID == "MADE BY A MODEL" and not file.PatientBirthDate
    assert file.ImageComments == "seed: 3"

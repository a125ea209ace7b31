"""What C code prints on standard error is held back, and nothing else is lost."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import tifffile

from medvfm.io.formats import decoder_messages
from medvfm.io.read import read_image


def test_lines_are_kept_and_the_screen_is_given_back(capfd):
    with decoder_messages.held_back() as lines, decoder_messages.held_back() as inner:
        os.write(2, b"Corrupt data\n\nmore\n")
    os.write(2, b"after\n")
    assert (lines, inner) == (["Corrupt data", "more"], [])
    assert capfd.readouterr().err == "after\n"


def test_a_progress_bar_that_is_drawn_meanwhile_stays_on_the_screen(capfd):
    with decoder_messages.held_back() as lines:
        os.write(2, b"\r 12/30")
    assert lines == []
    assert capfd.readouterr().err.endswith(" 12/30")


def test_the_screen_is_given_back_after_an_error(capfd):
    with pytest.raises(KeyError), decoder_messages.held_back():
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_a_tiff_with_a_tag_of_no_known_type_is_read_in_silence(tmp_path, capfd):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(400, dtype=np.uint8).reshape(20, 20), extratags=[(65000, "H", 1, 3, True)])
    data = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(struct.unpack_from("<H", data, directory)[0]):
        if struct.unpack_from("<H", data, directory + 2 + 12 * entry)[0] == 65000:
            struct.pack_into("<H", data, directory + 4 + 12 * entry, 99)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path).voxels[..., 0].T.ravel(), np.arange(400) % 256)
    assert capfd.readouterr() == ("", "")

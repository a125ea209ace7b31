"""Atomic writes: the old file or the new one, whole, and nothing left behind."""

from __future__ import annotations

import os

import pytest

from medvfm.io.atomic_write import atomic_write


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_whole(tmp_path, sync):
    path = tmp_path / "a.json"
    for content in ("first", "second"):
        with atomic_write(path, sync=sync) as part:
            part.write_text(content)
            assert part.parent == tmp_path and part.name.startswith(".")
        assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there_and_no_other(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_in_one_process_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as one, atomic_write(path) as two:
        assert one != two
        one.write_text("one"), two.write_text("two")
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_the_file_has_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640

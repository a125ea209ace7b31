"""A home that cannot be written is answered with what to set; a wrong --out with another one."""

import subprocess
import sys

import numpy as np
import pytest

from medvfm.core.errors import DataError, RunError
from medvfm.io import cache, patient_hashes, run_directory, test_openings, user_folders
from medvfm.io.dataset import roots


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """User folders below a file, where nothing can be made."""
    (tmp_path / "file").write_text("x")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "MEDVFM_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "file" / name))


@pytest.mark.parametrize(
    "write",
    [
        patient_hashes.installation_key,
        lambda: test_openings.open_test_set("card", "classification", ("x",)),
        lambda: cache.ArrayCache("cases").put("key", np.zeros(3)),
    ],
    ids=["key", "ledger", "cache"],
)
def test_what_cannot_be_written_names_the_variables_to_set(closed, write):
    with pytest.raises(DataError, match="XDG_CONFIG_HOME, XDG_DATA_HOME and MEDVFM_CACHE"):
        write()


def test_what_is_read_from_there_is_empty(closed):
    assert roots.known() == {}
    assert not cache.ArrayCache("cases").has("key")


def test_a_directory_of_a_run_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="give another --out"):
        run_directory.open_new(tmp_path / "file" / "run", "digest", resume=False)


def test_folders_are_made_once(tmp_path):
    assert user_folders.made(tmp_path / "a/b").is_dir() and user_folders.made(tmp_path / "a/b").is_dir()


def test_the_command_line_answers_a_folder_without_permission_with_exit_2(tmp_path):
    (tmp_path / "file").write_text("x")
    code = (
        "import sys; from medvfm import cli; from pathlib import Path\n"
        f"cli.app = lambda *_, **__: Path({str(tmp_path / 'file' / 'x')!r}).read_text()\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Not a directory" in done.stderr and "internal" not in done.stderr

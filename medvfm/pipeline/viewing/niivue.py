"""The viewer of volumes, NiiVue (BSD-2-Clause, github.com/niivue/niivue): one script of 2.3 MB, fetched once by npm and
known by its hash."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from medvfm.core.errors import DataError
from medvfm.io import user_folders
from medvfm.io.run_directory import write_bytes

VERSION = "0.69.0"
SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
MEMBER = "package/dist/niivue.umd.js"
NPM, PACKAGE = "npm", f"@niivue/niivue@{VERSION}"
MOST_BYTES = 20_000_000
TIMEOUT_S = 60
REMEDY = (
    f"on a machine with a network `npm pack {PACKAGE}`, take {MEMBER.rpartition('/')[2]} out of what it wrote, and "
    "give it with --niivue FILE: it is kept"
)


def bundle(given: Path | None = None) -> bytes:
    """The script, from `given`, from the user's data folder, or by npm; DataError for any other file."""
    kept = user_folders.data() / f"niivue-{VERSION}.umd.js"
    if given is not None:
        if not given.is_file():
            raise DataError("no such file", where=given)
        content = _checked(given.read_bytes(), given)
    elif kept.is_file():
        return _checked(kept.read_bytes(), kept)
    else:
        content = _checked(_fetched(), PACKAGE)
    user_folders.made(kept.parent)
    write_bytes(kept, content)
    return content


def _fetched() -> bytes:
    """What the user's own npm gets from the registry that it is set to."""
    npm = shutil.which(NPM)
    if npm is None:
        raise DataError("the viewer is not on this machine, and nor is npm, which could fetch it", remedy=REMEDY)
    with tempfile.TemporaryDirectory() as folder:
        words = [npm, "pack", PACKAGE, "--silent", "--pack-destination", folder]
        try:
            subprocess.run(words, check=True, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)
            with tarfile.open(next(Path(folder).glob("*.tgz")), mode="r:gz") as archive:
                member = archive.extractfile(MEMBER)
                return b"" if member is None else member.read(MOST_BYTES)
        except (OSError, KeyError, StopIteration, tarfile.TarError, subprocess.SubprocessError) as failed:
            raise DataError(f"npm could not fetch the viewer: {failed}", where=PACKAGE, remedy=REMEDY) from failed


def _checked(content: bytes, where: Path | str) -> bytes:
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"this is not niivue.umd.js of NiiVue {VERSION}, by its sha256", where=where, remedy=REMEDY)
    return content

"""The viewer of volumes, NiiVue (BSD-2-Clause, github.com/niivue/niivue): one script of 2.3 MB, fetched once and known
by its hash."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.request
from pathlib import Path

from medvfm.core.errors import DataError
from medvfm.io import user_folders
from medvfm.io.run_directory import write_bytes

VERSION = "0.69.0"
SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
MEMBER = "package/dist/niivue.umd.js"
URL = f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz"
MOST_BYTES = 20_000_000
TIMEOUT_S = 60
REMEDY = (
    f"on a machine with a network take {MEMBER.rpartition('/')[2]} out of {URL}, and give it with --niivue FILE: it "
    "is kept"
)


def bundle(given: Path | None = None) -> bytes:
    """The script, from `given`, from the user's data folder, or from the npm registry; DataError for any other file."""
    kept = user_folders.data() / f"niivue-{VERSION}.umd.js"
    if given is not None:
        if not given.is_file():
            raise DataError("no such file", where=given)
        content = _checked(given.read_bytes(), given)
    elif kept.is_file():
        return _checked(kept.read_bytes(), kept)
    else:
        content = _checked(_fetched(), URL)
    user_folders.made(kept.parent)
    write_bytes(kept, content)
    return content


def _fetched() -> bytes:
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT_S) as answer:
            packed = answer.read(MOST_BYTES)
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            member = archive.extractfile(MEMBER)
            return b"" if member is None else member.read(MOST_BYTES)
    except (OSError, KeyError, tarfile.TarError) as failed:
        raise DataError(f"the viewer could not be fetched: {failed}", where=URL, remedy=REMEDY) from failed


def _checked(content: bytes, where: Path | str) -> bytes:
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"this is not niivue.umd.js of NiiVue {VERSION}, by its sha256", where=where, remedy=REMEDY)
    return content

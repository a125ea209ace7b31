"""What is installed, which codecs and device are available, what is cached: for `medvfm doctor`."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata

from medvfm.io import cache

PACKAGES = ("medvfm", "torch", "transformers", "timm", "peft", "accelerate", "monai", "pydicom", "nibabel", "highdicom")
CODECS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000, HTJ2K": "pylibjpeg_openjpeg",
    "JPEG, JPEG lossless": "gdcm",
    "gzip": "isal",
}
INSTALL = {"pylibjpeg_openjpeg": "pylibjpeg-openjpeg", "gdcm": "python-gdcm"}


def findings() -> Iterator[tuple[str, str]]:
    """Name and finding, a line each."""
    yield "python", f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}"
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
    for what, module in CODECS.items():
        there = importlib.util.find_spec({"pyjpegls": "jpeg_ls", "pylibjpeg_openjpeg": "openjpeg"}.get(module, module))
        yield f"codec {what}", "ok" if there else f"missing: install {INSTALL.get(module, module)}"
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(number).total_memory / 2**30
            yield (
                f"device cuda:{number}",
                f"{torch.cuda.get_device_name(number)}, {memory:.0f} GiB, CUDA {torch.version.cuda}",
            )
    else:
        yield "device", f"cpu, {torch.get_num_threads()} threads; no CUDA device"
    yield from _cached()


def _cached() -> Iterator[tuple[str, str]]:
    """What lies in the cache, by kind; kinds of arrays are kept below the limit, the others stay until removed."""
    for kind, files, size in cache.usage():
        yield f"cache {kind}", f"{files:,} files, {size / 2**20:,.0f} MiB"
    free = shutil.disk_usage(cache.folder("").parent if cache.folder("").exists() else ".").free / 2**30
    yield "cache", f"{cache.folder('')} ({free:.0f} GiB free)"
    yield "cache limit", f"{cache.LIMIT_GIB:g} GiB of arrays a kind; MEDVFM_CACHE_GIB sets another"

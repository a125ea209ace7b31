"""Simulated scanners: from a head to a T1-weighted series with grid, contrast, bias field, gain and noise.

Everything here happens to every patient alike, with or without lesions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medvfm.io.virtual_brain import anatomy
from medvfm.io.virtual_brain.anatomy import WHITE, Head
from medvfm.io.virtual_brain.patients import Patient

DARK = (0.30, 0.40)  # a lesion's signal as a share of white matter's: a T1 black hole
FULL_SCALE = 4095  # 12 bits


@dataclass(frozen=True)
class Scanner:
    """A scanner model with its protocol.

    axes        where columns, rows and slices go, as letters of RAS: `LPS` is axial
    tilt_deg    rotation of the slices about the left-right axis, for angulated protocols
    signal      CSF, grey matter, white matter, fat, as shares of white matter
    noise       deviation of the noise in each channel, as a share of white matter
    bias        deviation of the logarithm of the bias field
    """

    name: str
    plane: str
    axes: str
    tilt_deg: float
    shape_vox: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    thickness_mm: float
    signal: tuple[float, float, float, float]
    noise: float
    bias: float
    codec: str
    field_tesla: float
    sequence: tuple[str, str, str]  # ScanningSequence, SequenceVariant, MRAcquisitionType
    echo_ms: float
    repetition_ms: float
    flip_deg: float
    slices_from_top: bool = False


SCANNERS = {
    "A": Scanner(
        "A", "axial", "LPS", 0.0, (144, 176, 33), (1.25, 1.25, 4.4), 4.0, (0.24, 0.70, 1.0, 1.25), 0.025, 0.08,
        "none", 1.5, ("SE", "NONE", "2D"), 12.0, 550.0, 90.0,
    ),
    "B": Scanner(
        "B", "sagittal", "PIR", 0.0, (138, 90, 90), (1.6, 1.6, 2.0), 2.0, (0.18, 0.62, 1.0, 1.10), 0.032, 0.12,
        "jpeg-ls", 3.0, ("GR", "SP", "3D"), 2.5, 24.0, 25.0,
    ),
    "C": Scanner(
        "C", "oblique axial", "LPS", 14.0, (172, 210, 29), (1.05, 1.05, 5.0), 5.0, (0.28, 0.74, 1.0, 1.35), 0.028, 0.10,
        "rle", 1.5, ("SE", "SK", "2D"), 10.0, 480.0, 80.0, slices_from_top=True,
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scan:
    """What one examination gives, all on one grid (i column, j row, k slice along the normal of the slices).

    stored  (i, j, k) uint16; affine (4, 4) voxel index to RAS+ mm; tissues and lesions (i, j, k) uint8 truth
    ventricles (i, j, k) bool: the lateral ventricles, which are CSF among the tissues
    """

    scanner: Scanner
    stored: np.ndarray
    affine: np.ndarray
    tissues: np.ndarray
    lesions: np.ndarray
    ventricles: np.ndarray
    ventricles_ml: float


def scan(patient: Patient) -> Scan:
    """Examine a patient on the scanner that he or she was sent to."""
    scanner, rng = SCANNERS[patient.scanner], patient.rng("scan")
    affine = _grid(scanner, rng)
    head = anatomy.grow(patient, scanner.shape_vox, affine, scanner.thickness_mm)
    signal = _signal(scanner, head, rng)
    _bright_spots(signal, head, affine, rng)
    lesions = _lesions(signal, patient, head, affine)
    return Scan(
        scanner=scanner,
        stored=_acquired(signal, scanner, rng),
        affine=affine,
        tissues=head.tissues(),
        lesions=lesions,
        ventricles=head.ventricle_mask(),
        ventricles_ml=head.ventricles_ml,
    )


def _grid(scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """(4, 4) voxel index to RAS+ mm. The head lies near the middle, as well as a radiographer places it."""
    directions = np.zeros((3, 3))
    for column, letter in enumerate(scanner.axes):
        axis = next(n for n, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        directions[axis, column] = 1.0 if letter in "RAS" else -1.0
    angle = np.deg2rad(scanner.tilt_deg + (rng.normal(0, 2.0) if scanner.tilt_deg else 0.0))
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * np.array(scanner.spacing_mm)
    middle = (np.array(scanner.shape_vox) - 1) / 2
    shift = rng.normal(0, 3.0, 3)
    affine[:3, 3] = shift - affine[:3, :3] @ middle
    return affine


def _signal(scanner: Scanner, head: Head, rng: np.random.Generator) -> np.ndarray:
    """(i, j, k) float32 without noise, white matter at about 1. Contrast and thickness of skull and scalp vary."""
    csf, grey, white, fat = np.array(scanner.signal) * np.exp(rng.normal(0, [0.08, 0.03, 0.0, 0.12]))
    skull, scalp = rng.uniform(4.5, 8.0), rng.uniform(4.0, 8.0)
    marrow = rng.uniform(0.15, 0.6)
    ends = np.array([0.0, 1.0, 2.0, 2.0 + skull / 2, 1.0 + skull, 2.0 + skull])
    depths = np.array([*ends, 1.0 + skull + scalp, 2.5 + skull + scalp])
    profile = [csf, csf, 0.08, marrow, 0.08, fat, 0.6 * fat, 0.0]
    signal = np.interp(head.shell_mm, depths, profile).astype(np.float32)
    tissue = np.array([csf, grey, white], np.float32)
    signal.reshape(-1)[head.inside] = tissue @ head.fractions
    return signal


def _bright_spots(signal: np.ndarray, head: Head, affine: np.ndarray, rng: np.random.Generator) -> None:
    """Vessels with inflow, and spots of fat in the scalp: every patient has them. Changes `signal` in place."""
    shell = head.shell_mm.reshape(-1)
    grey = head.inside[(head.fractions[WHITE] < 0.3) & (shell[head.inside] < -2)]
    scalp = np.flatnonzero((shell > 8) & (shell < 14))
    for where, count, (low, high), length in ((grey, 14, (1.0, 2.2), (3.0, 9.0)), (scalp, 10, (2.0, 4.5), (1.0, 2.0))):
        for start in rng.choice(where, int(rng.integers(count // 2, count + count // 2))):
            centre = np.array(np.unravel_index(start, signal.shape), dtype=float)
            thin = rng.uniform(low, high)
            radii = np.array([thin, thin, thin * rng.uniform(*length)])
            box, share = anatomy.ellipsoid(signal.shape, affine, centre, radii, anatomy.random_rotation(rng))
            signal[box] += share * np.float32(rng.uniform(1.1, 1.7)) - share * signal[box]


def _lesions(signal: np.ndarray, patient: Patient, head: Head, affine: np.ndarray) -> np.ndarray:
    """Darken the lesions in `signal` and give their mask (i, j, k) uint8: voxels that are at least half lesion."""
    rng = patient.rng("scan").spawn(1)[0]
    mask = np.zeros(signal.shape, np.uint8)
    if not patient.lesions:
        return mask
    white = np.zeros(signal.shape, np.float32)
    white.reshape(-1)[head.inside] = np.clip(2 * head.fractions[WHITE], 0, 1)
    level = float(np.median(signal.reshape(-1)[head.inside][head.fractions[WHITE] > 0.95]))
    for site, lesion in zip(head.sites, patient.lesions, strict=True):
        radii = lesion.diameter_mm / 2 * np.array([1.0, *rng.uniform(0.75, 1.0, 2)])
        box, share = anatomy.ellipsoid(signal.shape, affine, site, radii, anatomy.random_rotation(rng))
        share = share * white[box]
        signal[box] += share * (np.float32(level * rng.uniform(*DARK)) - signal[box])
        mask[box] |= (share > 0) & (share >= min(0.5, share.max()))
    return mask


def _acquired(signal: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Bias field, gain, Rician noise (Gudbjartsson and Patz 1995: the modulus of two noisy channels), 12 bits."""
    gain = rng.uniform(350, 1100)
    noise = np.float32(scanner.noise * np.exp(rng.normal(0, 0.2)))
    biased = signal * _bias(signal.shape, scanner.bias, rng)
    real = biased + noise * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(signal.shape, dtype=np.float32)
    return np.clip(np.rint(gain * np.hypot(real, imaginary)), 0, FULL_SCALE).astype(np.uint16)


def _bias(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """(i, j, k) smooth positive field: the exponential of half waves along each axis, separable in each term."""
    total = np.zeros(shape, np.float32)
    for order in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 0, 0), (0, 2, 0), (0, 0, 2)):
        i, j, k = (np.cos(np.pi * n * (np.arange(s) + 0.5) / s) for n, s in zip(order, shape, strict=True))
        weight = rng.normal(0, deviation / sum(order))
        total += (weight * i[:, None, None] * j[None, :, None] * k[None, None, :]).astype(np.float32)
    return np.exp(total)

"""Products of which half is enough: those with a symmetric result, and those of triangular matrices.

BLAS has routines of its own for them, which take half the time of a full product; torch has no names for these, so on
the CPU they are called through scipy. Elsewhere, and where gradients are asked for, they are full products. Matrices
are (d, d) in float64, and of a symmetric one only the lower triangle is given: what stands above it has no meaning.
"""

from __future__ import annotations

import torch
from scipy.linalg import blas, eigh, lapack
from torch import Tensor


def gram(rows: Tensor) -> Tensor:
    """rows^T rows of (n, d)."""
    if not _suits_blas(rows):
        return rows.T @ rows
    return torch.from_numpy(blas.dsyrk(1.0, rows.numpy().T, lower=1))


def outer(matrix: Tensor) -> Tensor:
    """matrix matrix^T."""
    if not _suits_blas(matrix):
        return matrix @ matrix.T
    return torch.from_numpy(blas.dsyrk(1.0, matrix.numpy(), lower=1))


def of_triangle(lower: Tensor, other: Tensor) -> Tensor:
    """lower^T other of a lower triangular matrix and any other."""
    if not (_suits_blas(lower) and _suits_blas(other)):
        return lower.T @ other
    return torch.from_numpy(blas.dtrmm(1.0, lower.numpy(), other.numpy(), lower=1, trans_a=1))


def cholesky(symmetric: Tensor) -> Tensor | None:
    """Lower triangular, whose product with its transpose is the matrix; None where it is not positive definite."""
    if not _suits_blas(symmetric):
        lower, failed = torch.linalg.cholesky_ex(symmetric)
    else:
        found, failed = lapack.dpotrf(symmetric.numpy(), lower=1, clean=1)
        lower = torch.from_numpy(found)
    return None if failed else lower


def eigenvalues(symmetric: Tensor) -> Tensor:
    """(d,) from the least on."""
    if not _suits_blas(symmetric):
        return torch.linalg.eigvalsh(symmetric)
    return torch.from_numpy(eigh(symmetric.numpy(), eigvals_only=True, driver="evd", check_finite=False))


def _suits_blas(given: Tensor) -> bool:
    return given.device.type == "cpu" and given.dtype == torch.float64 and given.numel() > 0 and not given.requires_grad

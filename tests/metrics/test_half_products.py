"""Half products against whole ones of torch, however the matrices lie in memory."""

from __future__ import annotations

import pytest
import torch

from medvfm.metrics import half_products as half

WAYS = {
    "by rows": lambda m: m,
    "by columns": lambda m: m.T.contiguous().T,
    "every other": lambda m: m.repeat_interleave(2, 0)[::2],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_they_are_the_whole_ones(way, kind):
    rows, square = (torch.randn(n, 7, generator=torch.Generator().manual_seed(n), dtype=kind) for n in (12, 7))
    rows, lower, square = WAYS[way](rows), WAYS[way](square.tril()), WAYS[way](square)
    kept = [m.clone() for m in (rows, lower, square)]
    whole = rows.T @ rows
    torch.testing.assert_close(half.gram(rows).tril(), whole.tril())
    torch.testing.assert_close(half.outer(rows).tril(), (rows @ rows.T).tril())
    torch.testing.assert_close(half.of_triangle(lower, square), lower.T @ square)
    torch.testing.assert_close(half.cholesky(WAYS[way](whole)), torch.linalg.cholesky(whole))
    torch.testing.assert_close(half.eigenvalues(WAYS[way](whole.tril())), torch.linalg.eigvalsh(whole))
    assert all(torch.equal(m, before) for m, before in zip((rows, lower, square), kept, strict=True))


def test_a_matrix_that_is_not_positive_definite_has_no_such_root():
    assert half.cholesky(torch.diag(torch.tensor([1.0, 0, 2], dtype=torch.float64))) is None


def test_gradients_and_empty_matrices_take_the_whole_products():
    rows = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    half.gram(rows).sum().backward()
    assert rows.grad is not None
    plain = torch.eye(3, dtype=torch.float64)
    for lower, other in ((plain, rows[:3]), (rows[:3].tril(), plain)):
        assert half.of_triangle(lower, other).requires_grad
    assert half.gram(torch.zeros(0, 3, dtype=torch.float64)).tolist() == [[0.0] * 3] * 3

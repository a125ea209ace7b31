"""`tiny`: components against scikit-learn's, words, and samples that do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from medvfm.core.errors import DataError, RecipeError
from medvfm.models.diffusion import sampling
from medvfm.models.diffusion.condition_reader import word_ids
from medvfm.models.diffusion.sampling import SAMPLERS, Sampling
from medvfm.models.diffusion.tiny import PrincipalComponents, TinyGenerator


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return (0.5 + 0.1 * rng.normal(size=(40, 6)) @ rng.normal(size=(6, 64))).clip(0, 1).astype(np.float32)


@pytest.fixture
def generator(images):
    return TinyGenerator(PrincipalComponents.fitted(images, 5), 1, (8, 8), values=2, words=True, seed=0).eval()


@pytest.mark.parametrize("rows", [40, 200])  # fewer images than pixels, and more
def test_components_are_those_of_scikit_learn(images, rows):
    given = np.concatenate([images] * 5)[:rows] + np.random.default_rng(1).normal(0, 0.01, (rows, 64)).astype(
        np.float32
    )
    own, pca = PrincipalComponents.fitted(given, 5), PCA(5, svd_solver="full").fit(given.astype(np.float64))
    back = own.decode(own.encode(torch.from_numpy(given))).numpy()
    np.testing.assert_allclose(back, pca.inverse_transform(pca.transform(given)), atol=1e-5)
    latents = own.encode(torch.from_numpy(given)).numpy()
    assert np.square(latents).mean() * rows / (rows - 1) == pytest.approx(1, abs=1e-3)
    shares = latents.std(0) ** 2 / np.sqrt(pca.explained_variance_)  # half whitened: variance as deviation before
    np.testing.assert_allclose(shares, shares[0], rtol=1e-3)


def test_few_images_give_fewer_components_and_one_gives_none(images):
    assert len(PrincipalComponents.fitted(images[:4]).scale) == 3
    for few in (images[:1], np.ones((5, 64), np.float32)):
        with pytest.raises(DataError, match="several"):
            PrincipalComponents.fitted(few)


def test_words_are_hashed_with_their_neighbours():
    assert word_ids("No lesion.") == word_ids("no  lesion") and len(word_ids("no lesion")) == 3
    assert word_ids("no lesion") != word_ids("lesion no") and word_ids("") == []


def test_words_that_training_never_saw_say_nothing(generator):
    with torch.no_grad():
        generator.reader.words.weight[word_ids("lesion")[0]] = 1.0
        none, strange, known = (
            generator.states(generator.read_texts([text]), torch.full((1, 2), torch.nan))
            for text in ("", "xyzzy", "lesion")
        )
    assert torch.equal(none, strange) and not torch.equal(none, known)


def test_unknown_values_are_neither_one_nor_zero(generator):
    texts = generator.read_texts(["", "", ""])
    found = generator.states(texts, torch.tensor([[1.0, 0.0], [0.0, 0.0], [torch.nan, 0.0]]))
    assert len({tuple(row.tolist()) for row in found}) == 3


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_depends_on_its_seed_alone(generator, sampler):
    states = generator.states(generator.read_texts(["a", "b", "a"]), torch.zeros(3, 2)).detach()
    how = Sampling(sampler, steps=5, guidance=2.0)
    together = sampling.sample(generator, states, torch.zeros_like(states), [7, 8, 7], how)
    alone = sampling.sample(generator, states[:1], torch.zeros_like(states[:1]), [7], how)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1]) and torch.isfinite(together).all()
    torch.testing.assert_close(together[0], together[2], rtol=1e-4, atol=1e-4)
    again = sampling.sample(generator, states[:1], torch.zeros_like(states[:1]), [8], how)
    assert not torch.allclose(again, alone, atol=1e-2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_denoiser_finds_the_one_image_that_there_is(generator, sampler, monkeypatch):
    """With x_0 known, v is known: every sampler must end at x_0."""
    clean = torch.linspace(-1, 1, 5)[None]

    def perfect(noisy, t, states, **more):
        kept = generator.schedule.alphas_cumprod[t.long()][:, None].float()
        noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
        return kept.sqrt() * noise - (1 - kept).sqrt() * clean

    monkeypatch.setattr(generator, "denoise", perfect)
    found = sampling.sample(generator, torch.zeros(2, 256), torch.zeros(2, 256), [1, 2], Sampling(sampler, 20, 1.0))
    torch.testing.assert_close(found, clean.expand(2, -1), rtol=0, atol=0.05)


def test_an_unknown_sampler_is_refused_by_its_key():
    with pytest.raises(RecipeError, match=r"adapter.options.sampler.*did you mean 'ddim'"):
        Sampling("ddpm")

"""Noise schedules against diffusers' own, targets and weights against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from medvfm.nn import diffusion
from medvfm.nn.diffusion import PREDICTIONS, NoiseSchedule

T = torch.tensor([0, 17, 500, 998])


@pytest.mark.parametrize(
    ("schedule", "config"),
    [
        (NoiseSchedule.linear("epsilon"), {"beta_schedule": "linear"}),
        (
            NoiseSchedule.scaled_linear("epsilon"),
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        ),
        (NoiseSchedule.cosine("v_prediction"), {"beta_schedule": "squaredcos_cap_v2"}),
    ],
)
def test_schedules_are_those_of_diffusers(schedule, config):
    own = DDPMScheduler(**config)
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), own.alphas_cumprod.numpy(), rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(schedule.betas(), own.betas.numpy(), rtol=1e-4, atol=1e-6)
    assert schedule.steps == 1000


def test_noise_and_velocity_are_those_of_diffusers():
    own = DDPMScheduler(beta_schedule="linear", prediction_type="v_prediction")
    schedule = NoiseSchedule.linear("v_prediction")
    clean, noise = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(schedule.noisy(clean, noise, T), own.add_noise(clean, noise, T), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        schedule.target(clean, noise, T), own.get_velocity(clean, noise, T), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_right_prediction_leads_back_to_the_clean_image(prediction):
    schedule = NoiseSchedule.cosine(prediction)
    clean, noise = torch.randn(3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    noisy, target = schedule.noisy(clean, noise, T[:3]), schedule.target(clean, noise, T[:3])
    torch.testing.assert_close(schedule.clean(target, noisy, T[:3]), clean)
    assert schedule.loss(target, clean, noise, T[:3]).abs().max() == 0


def test_min_snr_weights_are_the_same_weight_on_the_clean_image():
    """An error e of x_0 weighs min(SNR, γ) e² whatever is predicted: Hang et al. 2023, where the loss of ε is
    SNR e², and that of v is (SNR + 1) e²."""
    clean, noise = torch.randn(4, 9, dtype=torch.float64), torch.randn(4, 9, dtype=torch.float64)
    wrong = clean + 0.01
    own = DDPMScheduler(beta_schedule="linear")
    snr = compute_snr(own, T).double()
    for prediction in PREDICTIONS:
        schedule = NoiseSchedule.linear(prediction)
        noisy = schedule.noisy(clean, noise, T)
        kept = schedule.alphas_cumprod[T][:, None]
        implied_noise = (noisy - kept.sqrt() * wrong) / (1 - kept).sqrt()
        predicted = schedule.target(wrong, implied_noise, T)
        found = schedule.loss(predicted, clean, noise, T, min_snr_gamma=5.0)
        torch.testing.assert_close(found.double(), snr.clamp(max=5) * 1e-4, rtol=2e-2, atol=1e-7)


def test_offset_noise_moves_each_channel_as_a_whole():
    noise, shift = torch.randn(2, 3, 4, 4), torch.randn(2, 3)
    moved = diffusion.offset_noise(noise, 0.1, shift) - noise
    torch.testing.assert_close(moved, 0.1 * shift[:, :, None, None].expand_as(noise), rtol=1e-4, atol=1e-6)


def test_stratified_steps_take_one_of_each_part():
    rng = np.random.default_rng(0)
    drawn = np.array([diffusion.stratified_steps(list(rng.random(8)), 1000) for _ in range(500)])
    assert (drawn // 125 == np.arange(8)).all() and drawn.min() >= 0 and drawn.max() <= 999
    assert abs(drawn.mean() - 499.5) < 5


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="epsilon"):
        NoiseSchedule.linear("noise")  # type: ignore[arg-type]

"""Velocity and noise: the same thing said in two ways, and what errors of one are in the other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medfm.core.config import build
from medfm.core.errors import ConfigError
from medfm.encoders.card_schema import Generator
from medfm.encoders.ldae.generator import check_same_diffusion
from medfm.encoders.registry import get_card, list_cards
from medfm.objectives.ddim import invert, make_grid, reverse_step, sample
from medfm.objectives.diffusion import add_noise, clean_from_noise, make_schedule, noise_loss, shifted_loss
from medfm.objectives.prediction import as_noise, gradient_of, noise_of, velocity_weight
from medfm.training.ldae_diffusion import NoiseLoss, ShiftLoss
from medfm.training.ldae_samples import SampleJudge

SCHEDULE = make_schedule()
RANDOM = torch.Generator().manual_seed(0)
Z0, NOISE, WRONG, CHANGE = (torch.randn(4, 2, 4, 5, 4, generator=RANDOM) for _ in range(4))
T = torch.tensor([0, 30, 500, 999])


def velocity(z0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Of the definition, in double precision."""
    abar = SCHEDULE.alphas_cumprod.double()[t].reshape(-1, *[1] * (z0.ndim - 1))
    return (abar.sqrt() * noise.double() - (1 - abar).sqrt() * z0.double()).float()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.floats(0.1, 30.0))
def test_the_noise_follows_from_the_velocity(t, size):
    at, z0 = torch.full((4,), t), size * Z0
    z_t = add_noise(SCHEDULE, z0, at, NOISE)
    torch.testing.assert_close(noise_of(SCHEDULE, z_t, at, velocity(z0, at, NOISE)), NOISE, rtol=1e-4, atol=2e-5 * size)


def test_the_clean_latent_is_as_wrong_as_the_velocity_and_not_more():
    z_t = add_noise(SCHEDULE, Z0, T, NOISE)
    wrong = velocity(Z0, T, NOISE) + 0.1 * WRONG
    clean = clean_from_noise(SCHEDULE, z_t, T, noise_of(SCHEDULE, z_t, T, wrong))
    noisy = SCHEDULE.sqrt_one_minus_alphas_cumprod[T].reshape(4, 1, 1, 1, 1)
    torch.testing.assert_close(clean - Z0, -noisy * 0.1 * WRONG, rtol=1e-3, atol=1e-3)
    # The same error of the noise is 157 times as large there.
    of_noise = clean_from_noise(SCHEDULE, z_t, T, NOISE + 0.1 * WRONG)[3] - Z0[3]
    assert float(of_noise.std() / (0.1 * WRONG[3]).std()) == pytest.approx(157, rel=0.01)


def test_nothing_said_at_the_end_is_the_mean_latent():
    """A network that knows nothing but the mean latent says minus it where all is noise."""
    t = torch.tensor([999])
    mean = 3 * Z0[:1]
    z_t = add_noise(SCHEDULE, Z0[:1], t, NOISE[:1])
    clean = clean_from_noise(SCHEDULE, z_t, t, noise_of(SCHEDULE, z_t, t, -mean))
    # What is left of the latent itself is visible by its share of z_t alone.
    torch.testing.assert_close(clean, mean, rtol=0, atol=0.05)


@pytest.mark.parametrize("index", [1, 7, 25, 50])
def test_a_change_of_the_velocity_steers_as_the_sum_does(index):
    """Sampling with noise and gradient goes where it would go with the sum of the two velocities as the noise."""
    grid = make_grid(SCHEDULE, 50)
    t = grid.timesteps[index].expand(4)
    z_t = add_noise(SCHEDULE, Z0, t, NOISE)
    noise, gradient = as_noise(lambda z, at: (WRONG, CHANGE), SCHEDULE, "velocity")(z_t, t)
    steered = reverse_step(grid, z_t, index, noise, gradient, clip=None)
    together = reverse_step(grid, z_t, index, noise_of(SCHEDULE, z_t, t, WRONG + CHANGE), clip=None)
    torch.testing.assert_close(steered, together, rtol=1e-3, atol=1e-3)


def test_the_sign_of_the_gradient():
    kept, noisy = SCHEDULE.sqrt_alphas_cumprod, SCHEDULE.sqrt_one_minus_alphas_cumprod
    found = gradient_of(SCHEDULE, Z0, T, CHANGE)
    assert bool(torch.isfinite(found).all())
    for i, t in enumerate(T.tolist()):
        torch.testing.assert_close(found[i], -float(kept[t] / noisy[t]) * CHANGE[i])


def test_noise_is_left_alone():
    def model(z, t):
        return z

    assert as_noise(model, SCHEDULE, "epsilon") is model


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_weighted_errors_of_the_noise_are_errors_of_the_velocity(kind):
    schedule = make_schedule(kind, 500)
    t = torch.tensor([0, 3, 250, 480])
    z_t = add_noise(schedule, Z0, t, NOISE)
    abar = schedule.alphas_cumprod[t].reshape(-1, 1, 1, 1, 1)
    true = abar.sqrt() * NOISE - (1 - abar).sqrt() * Z0
    errors = (noise_of(schedule, z_t, t, WRONG) - NOISE).square().flatten(1).mean(dim=1)
    expected = (WRONG - true).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(velocity_weight(schedule, t) * errors, expected, rtol=2e-3, atol=1e-5)


class Says(nn.Module):
    """Says `first`, or `first` and `second` where it is given a code."""

    def __init__(self, first: torch.Tensor, second: torch.Tensor) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, z: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None):
        return self.first if y is None else (self.first, self.second)


def test_the_losses_are_square_errors_of_the_velocity():
    true = velocity(Z0, T, NOISE)
    found = NoiseLoss(Says(WRONG, CHANGE), SCHEDULE, prediction="velocity")(Z0, T, NOISE)
    assert float(found) == pytest.approx(float((WRONG - true).square().mean()), rel=1e-3)
    # In stage 3 the change counts by the published factor: (1 - abar of the step before) / (1 - abar), and so on.
    t = torch.tensor([40, 300, 700, 999])
    true = velocity(Z0, t, NOISE)
    loss = ShiftLoss(nn.Identity(), Says(WRONG, CHANGE), SCHEDULE, prediction="velocity")
    alpha, before, abar = (
        getattr(SCHEDULE, name)[t].double() for name in ("alphas", "alphas_cumprod_prev", "alphas_cumprod")
    )
    share = (alpha.sqrt() * (1 - before) / (1 - abar)).float().reshape(4, 1, 1, 1, 1)
    assert bool((share > 0.9).all()) and bool((share < 1).all())
    expected = (WRONG + share * CHANGE - true).square().mean()
    assert float(loss(Z0, t, NOISE, torch.ones(4, 3))) == pytest.approx(float(expected), rel=2e-3)
    perfect = ShiftLoss(nn.Identity(), Says(WRONG, (true - WRONG) / share), SCHEDULE, prediction="velocity")
    assert float(perfect(Z0, t, NOISE, torch.ones(4, 3))) < 1e-4


def test_the_published_losses_are_the_default():
    model = Says(WRONG, CHANGE)
    assert float(NoiseLoss(model, SCHEDULE)(Z0, T, NOISE)) == float(noise_loss(SCHEDULE, model, Z0, T, NOISE))
    expected = shifted_loss(SCHEDULE, lambda z, t: (WRONG, CHANGE), Z0, T, NOISE).mean()
    assert float(ShiftLoss(nn.Identity(), model, SCHEDULE)(Z0, T, NOISE, torch.ones(4, 3))) == float(expected)


def test_inversion_and_sampling_give_the_latent_back():
    """With the best guess of the velocity of standard normal latents, which is 0."""
    grid = make_grid(SCHEDULE, 200)
    model = as_noise(lambda z, t: torch.zeros_like(z), SCHEDULE, "velocity")
    code = invert(grid, model, Z0, clip=None)
    torch.testing.assert_close(sample(grid, model, code, clip=None), Z0, rtol=0.02, atol=0.02)
    torch.testing.assert_close(code, Z0, rtol=0.05, atol=0.05)


def test_samples_are_judged_by_what_velocities_say():
    class Plain(nn.Module):
        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return z

    true = torch.rand(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))

    def knows(z: torch.Tensor, t: torch.Tensor, y: torch.Tensor):
        """The velocity that leads to the true latents, half of it from the code."""
        kept, noisy = (SCHEDULE.at(n, t, z) for n in ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"))
        found = (kept * z - true) / noisy
        return 0.5 * found, 0.5 * found

    codes = torch.ones(2, 3)
    values = {}
    for prediction in ("velocity", "epsilon"):
        sources = [torch.Generator().manual_seed(i) for i in (1, 2)]
        judge = SampleJudge(Plain(), SCHEDULE, 1.0, None, 20, 4, prediction)
        values[prediction] = judge.similarity(knows, codes, true, sources)
    assert min(values["velocity"]) > 0.99 > 0.9 > max(values["epsilon"])


def test_what_a_denoiser_predicts_belongs_to_its_card():
    tiny, whole = (get_card(name).spec.generator for name in ("ldae-tiny", "ldae-brain-mri"))
    assert (tiny.prediction, tiny.timesteps) == ("velocity", 1000)
    assert (whole.prediction, whole.timesteps, whole.schedule) == ("epsilon", 1000, "linear")
    check_same_diffusion(tiny, tiny.model_copy(update={"steps": 3, "latent_scale": 7.0}), "here")
    for change in ({"prediction": "epsilon"}, {"timesteps": 500}, {"schedule": "cosine"}):
        with pytest.raises(
            ConfigError, match="another diffusion: prediction velocity, schedule linear, 1000"
        ) as caught:
            check_same_diffusion(tiny, tiny.model_copy(update=change), "runs/latent")
        assert caught.value.where == "runs/latent" and str(next(iter(change.values()))) in caught.value.expected
    with pytest.raises(ConfigError, match="prediction"):
        build(Generator, tiny.to_dict() | {"prediction": "sample"}, where="card")
    others = [card for card in list_cards() if card.spec.generator is not None and card.id != "ldae-tiny"]
    assert others and all(card.spec.generator.prediction == "epsilon" for card in others)


def test_half_precision_outputs_are_translated_in_single():
    z_t = add_noise(SCHEDULE, Z0, T, NOISE)
    noise, gradient = as_noise(lambda z, t: (WRONG.bfloat16(), CHANGE.bfloat16()), SCHEDULE, "velocity")(z_t, T)
    assert noise.dtype == gradient.dtype == torch.float32
    expected = noise_of(SCHEDULE, z_t, T, WRONG)
    assert float((noise - expected).abs().max()) < 0.02 * math.sqrt(2)

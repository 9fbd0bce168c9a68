"""The U-Nets: what they take, what is trained, and how the second starts from the first."""

import pytest
import torch
from tiny_ldae import DENOISER, shaken

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.ldae.unet import ShiftUNet, build_shift_unet, build_unet

Z = torch.randn(3, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0, 500, 999])
Y = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))


def trained(seed: int = 0) -> ShiftUNet:
    module = shaken(build_shift_unet(DENOISER, torch.Generator().manual_seed(seed)), seed)
    assert isinstance(module, ShiftUNet)
    return module


def test_shapes_and_that_items_do_not_mix():
    module = trained().eval()
    with torch.inference_mode():
        noise, gradient = module(Z, T, Y)
        assert noise.shape == gradient.shape == Z.shape
        for i in range(3):
            alone = module(Z[i : i + 1], T[i : i + 1], Y[i : i + 1])
            torch.testing.assert_close(alone[0][0], noise[i], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone[1][0], gradient[i], atol=1e-5, rtol=1e-5)


def test_the_code_moves_the_gradient_alone_and_time_both():
    module = trained().eval()
    with torch.inference_mode():
        noise, gradient = module(Z, T, Y)
        other_code = module(Z, T, Y + 1)
        other_time = module(Z, T.flip(0), Y)
    assert torch.equal(noise, other_code[0]) and not torch.allclose(gradient, other_code[1], atol=1e-3)
    assert not torch.allclose(noise, other_time[0], atol=1e-3)
    assert not torch.allclose(gradient, other_time[1], atol=1e-3)


def test_an_untrained_network_says_nothing():
    """Outputs, residual branches and attention begin as zero, as published."""
    noise, gradient = build_shift_unet(DENOISER).eval()(Z, T, Y)
    assert not noise.any() and not gradient.any()
    assert not build_unet(DENOISER).eval()(Z, T).any()


def test_first_weights_depend_on_the_generator_only():
    before = torch.random.get_rng_state()
    one, same, other = (build_unet(DENOISER, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    key = "input_blocks.0.0.weight"
    assert torch.equal(one.state_dict()[key], same.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in one.state_dict().values())


@pytest.mark.parametrize(
    "z",
    [
        torch.zeros(3, 2, 3, 5, 6),
        torch.zeros(3, 2, 3, 4, 7),
        torch.zeros(3, 1, 3, 4, 6),
        torch.zeros(3, 2, 3, 4),
        torch.zeros(2, 2, 3, 4, 6),
        torch.zeros(3, 2, 3, 0, 6),
    ],
)
def test_latents_of_other_shapes(z):
    with pytest.raises(ConfigError, match="multiples of 2"):
        build_unet(DENOISER)(z, T)


@pytest.mark.parametrize("y", [Y[:, :31], Y[:2], Y[0]])
def test_codes_of_other_shapes(y):
    with pytest.raises(ConfigError, match=r"\(3, 32\)"):
        build_shift_unet(DENOISER)(Z, T, y)


def test_the_first_axis_may_have_any_length():
    for length in (1, 2, 5):
        assert build_unet(DENOISER)(torch.zeros(1, 2, length, 4, 4), T[:1]).shape == (1, 2, length, 4, 4)


def test_only_the_steered_half_learns():
    module = trained().freeze()
    _, gradient = module(Z, T, Y)
    gradient.square().mean().backward()
    learnt = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name in module.state_dict() if name.startswith(("label_emb.", "shift_"))}


def test_the_frozen_half_has_no_dropout():
    module = build_shift_unet({**DENOISER, "dropout": 0.5})
    shaken(module)
    torch.manual_seed(0)
    module.train()
    assert not torch.equal(module(Z, T, Y)[0], module(Z, T, Y)[0])
    module.freeze().train()
    with torch.no_grad():
        (noise, gradient), (again, other) = module(Z, T, Y), module(Z, T, Y)
    assert torch.equal(noise, again) and not torch.equal(gradient, other)
    assert module.shift_middle_block.training and not module.middle_block.training


def test_recomputing_gives_the_same_gradients():
    kept, again = trained(), trained()
    again.checkpointing = True
    for module in (kept, again):
        module.eval()
        noise, gradient = module(Z, T, Y)
        (noise + gradient).square().mean().backward()
    for (name, one), other in zip(kept.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_starting_from_stage_2():
    prior = shaken(build_unet(DENOISER, torch.Generator().manual_seed(9)), 9)
    module = build_shift_unet(DENOISER)
    before = module.shift_out[2].weight.clone()
    assert module.start_from(prior) is module
    with torch.inference_mode():
        torch.testing.assert_close(module.eval()(Z, T, Y)[0], prior.eval()(Z, T))
    assert torch.equal(module.shift_out[2].weight, before)
    assert not any(p.requires_grad for name, p in module.named_parameters() if name.startswith("input_blocks"))
    # Copied, not shared.
    with torch.no_grad():
        prior.out[2].bias.add_(1)
    assert not torch.equal(module.out[2].bias, prior.out[2].bias)


def test_a_file_that_does_not_fit_is_refused_and_changes_nothing():
    module = build_shift_unet(DENOISER)
    state = build_unet(DENOISER, torch.Generator().manual_seed(5)).state_dict()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    some = next(iter(state))
    for broken, word in (
        ({key: tensor for key, tensor in state.items() if key != some}, r"missing: time_embed\.0\.weight \(1\)"),
        (state | {"more": torch.zeros(1)}, r"unexpected: more \(1\)"),
        (state | {some: torch.zeros(1)}, r"of another shape: time_embed\.0\.weight \(1\)"),
        ({f"ema_unet.{key}": tensor for key, tensor in state.items()}, r"without unet\. or ema_unet\."),
        ({}, "missing"),
    ):
        with pytest.raises(WeightsError, match=word):
            module.start_from(broken)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


def test_a_mapping_of_wrong_arguments():
    with pytest.raises(ConfigError, match="denoiser arguments"):
        build_unet({"widht": 8})

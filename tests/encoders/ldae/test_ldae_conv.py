"""Convolutions of single small latents: the fast way gives the values of the usual one, and only where it may."""

import pytest
import torch
from torch import nn

from medfm.encoders.ldae.blocks import Conv3d
from medfm.encoders.ldae.unet import build_unet

ARGS = {"latent_channels": 2, "width": 8, "multipliers": [1, 2], "blocks": 1, "attention_at": [2], "groups": 4}


def usual(conv: Conv3d) -> nn.Conv3d:
    other = nn.Conv3d(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)
    other.load_state_dict(conv.state_dict())
    return other


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that took the fast way."""
    seen: list[tuple[int, ...]] = []
    convolve = torch.mkldnn_convolution

    def noted(x: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return convolve(x, *rest)

    monkeypatch.setattr(torch, "mkldnn_convolution", noted)
    return seen


needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")


@needs_onednn
@pytest.mark.parametrize(("kernel", "shape"), [(3, (4, 5, 6)), (1, (4, 5, 6)), (3, (1, 1, 1)), (3, (8, 4, 4))])
def test_values_are_those_of_the_usual_convolution(kernel, shape, calls):
    torch.manual_seed(0)
    conv = Conv3d(5, 7, kernel, padding=kernel // 2)
    x = torch.randn(1, 5, *shape)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), usual(conv)(x), rtol=1e-5, atol=1e-5)
    assert calls == [tuple(x.shape)]


@pytest.mark.parametrize("case", ["gradients", "batch", "float64", "autocast"])
def test_everything_else_goes_the_usual_way(case, calls):
    conv, x = Conv3d(2, 3, 3, padding=1), torch.randn(2 if case == "batch" else 1, 2, 4, 4, 4)
    if case == "float64":
        conv, x = conv.double(), x.double()
    with torch.set_grad_enabled(case == "gradients"), torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        out = conv(x)
    assert not calls and out.shape == (len(x), 3, 4, 4, 4)
    assert out.requires_grad is (case == "gradients")
    assert Conv3d(2, 3, 3, device="meta")(torch.empty(1, 2, 4, 4, 4, device="meta")).is_meta


@needs_onednn
def test_the_denoiser_takes_it_and_keeps_its_values(calls):
    """The same step with and without gradients, and names of tensors that no subclass changes."""
    module = build_unet(ARGS).eval()
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.linspace(-0.1, 0.12, tensor.numel()).reshape(tensor.shape))
    z, t = torch.randn(1, 2, 4, 8, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    slow = module(z, t).detach()
    assert not calls
    with torch.inference_mode():
        fast = module(z, t)
    assert len(calls) == sum(isinstance(part, nn.Conv3d) for part in module.modules())
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    assert "input_blocks.0.0.weight" in module.state_dict()

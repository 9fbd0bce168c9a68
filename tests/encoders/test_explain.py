"""Grad-CAM and attention roll-out on networks whose answer is known, and on every architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfm.core.errors import CardError, ConfigError, MedfmError
from medfm.encoders.clip import build_clip
from medfm.encoders.convirt import build_convirt
from medfm.encoders.dinov2 import build_vit
from medfm.encoders.explain import attention_rollout, grad_cam, last_map
from medfm.encoders.flair import build_flair
from medfm.encoders.resnet import build_resnet

IMAGE = {"patch": 8, "width": 16, "layers": 3, "heads": 2}
CLIP = {"image_size": 32, "activation": "gelu", "projection": 12, "text": None}
TRANSFORMERS = {
    "dinov2": lambda: build_vit({"width": 16, "depth": 3, "heads": 2, "patch": 8, "img_size": 32}),
    "open_clip": lambda: build_clip(CLIP | {"image": IMAGE | {"kind": "open_clip"}}),
    "timm": lambda: build_clip(CLIP | {"image": IMAGE | {"kind": "timm"}}),
}
RESNETS = {
    "imagenet": lambda: build_resnet({"backbone": "resnet18", "image_size": 64}),
    "flair": lambda: build_flair(
        {"backbone": "resnet18", "image_size": 64, "projection": 8, "text": None, "output": "projected"}
    ),
    "convirt": lambda: build_convirt({"backbone": "resnet18", "image_size": 64, "projection": 8, "text": None}),
}


def noise(n: int = 2, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


class Corners(nn.Module):
    """Channel 0 passes red of the upper left quarter only, channel 1 of the lower right; mean pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.map = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:, 0] = 1.0
        mask = torch.zeros(2, 8, 8)
        mask[0, :4, :4] = 1
        mask[1, 4:, 4:] = 1
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.map(self.conv(x) * self.mask).mean(dim=(2, 3))


def untouched(module: nn.Module) -> bool:
    hooks = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())
    return not hooks and all(p.grad is None for p in module.parameters())


def test_a_network_that_looks_at_one_corner():
    network = Corners().eval()
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.1
    found = grad_cam(network, network.map, x, lambda e: e[:, 0])
    expected = torch.zeros(3, 8, 8)
    expected[:, :4, :4] = x[:, 0, :4, :4] / 64  # the weight of a mean over 64 places
    torch.testing.assert_close(found, expected)
    other = grad_cam(network, network.map, x, lambda e: 2 * e[:, 1])
    assert not other[:, :4].any() and not other[:, :, :4].any() and bool((other[:, 4:, 4:] > 0).all())
    assert not grad_cam(network, network.map, x, lambda e: -e[:, 0]).any(), "what lowers the score is not shown"
    assert untouched(network) and not network.training


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_keep_mode_statistics_weights_and_have_no_gradients(name):
    network = RESNETS[name]().train()
    network.get_submodule(next(n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d))).eval()
    modes = {n: m.training for n, m in network.named_modules()}
    before = {k: v.clone() for k, v in network.state_dict().items()}
    layer = last_map(network)
    assert layer is not None
    x = noise(side=64)
    found = grad_cam(network, layer, x, lambda e: e @ torch.ones(e.shape[1]))
    assert found.shape == (2, 2, 2) and found.dtype == torch.float32 and bool((found >= 0).all())
    assert modes == {n: m.training for n, m in network.named_modules()}
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert untouched(network) and not x.requires_grad


def test_behind_a_plain_mean_it_is_the_class_activation_map():
    """There the gradient is the direction over the number of places: no autograd in this computation."""
    network = RESNETS["imagenet"]().eval().requires_grad_(False)
    x, direction = noise(side=96), torch.randn(512, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        tokens = network.tokens(x)
    expected = (tokens @ direction / 9).relu().reshape(2, 3, 3)
    layer = last_map(network)
    assert layer is not None
    found = grad_cam(network, layer, x, lambda e: e @ direction)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    alone = torch.cat([grad_cam(network, layer, part, lambda e: e @ direction) for part in x.split(1)])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-6)


def test_works_inside_inference_mode():
    network = Corners().eval().requires_grad_(False)
    x = torch.rand(1, 3, 8, 8)
    usual = grad_cam(network, network.map, x, lambda e: e[:, 0])
    with torch.inference_mode():
        made_here = x * 1
        found = grad_cam(network, network.map, made_here, lambda e: e[:, 0])
    assert torch.equal(found, usual) and bool(found.any())


@pytest.mark.parametrize("broken", ["layer", "score", "elsewhere", "twice", "nan"])
def test_what_cannot_be_explained_is_refused_and_leaves_nothing(broken):
    network = Corners()
    x = torch.rand(2, 3, 8, 8)
    if broken == "nan":
        x[0, 0, 0, 0] = float("nan")
    layer = {"layer": network, "elsewhere": nn.Conv2d(1, 1, 1)}.get(broken, network.map)
    if broken == "twice":
        network.forward = lambda x: network.map(network.map(network.conv(x))).mean(dim=(2, 3))
    error = {"score": ConfigError, "nan": MedfmError}.get(broken, CardError)
    with pytest.raises(error):
        grad_cam(network, layer, x, lambda e: e if broken == "score" else e[:, 0])
    assert untouched(network) and network.training


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_even_attention_spreads_evenly(name):
    """Queries of zero attend to all of 17 tokens alike; each of three layers keeps half at its place."""
    network = TRANSFORMERS[name]()
    with torch.no_grad():
        for key, tensor in network.named_parameters():
            if "qkv" in key or "in_proj" in key:
                tensor.zero_()
    found = attention_rollout(network, noise())
    torch.testing.assert_close(found, torch.full((2, 4, 4), (1 - 0.5**3) / 17))
    assert untouched(network)


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("place", [0, 6, 15])
def test_a_transformer_that_looks_at_one_patch(name, place):
    network = TRANSFORMERS[name]().eval()
    with torch.no_grad():
        table = next(t for k, t in network.named_parameters() if k.endswith(("pos_embed", "positional_embedding")))
        table.zero_()
        table.view(17, 16)[place + 1, 0] = 100.0  # the mark that this patch alone bears
        for key, tensor in network.named_parameters():
            if "qkv" in key or "in_proj" in key:
                tensor.zero_()
                if key.endswith("bias"):
                    tensor[:16] = 50.0  # every query asks for ...
                else:
                    tensor[16:32, 0] = 50.0  # ... keys with the mark
    found = attention_rollout(network, noise())
    expected = torch.zeros(2, 16)
    expected[:, place] = 1 - 0.5**3
    torch.testing.assert_close(found.flatten(1), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_equals_the_attention_that_the_libraries_show(name):
    """timm's slow path shows its weights in front of the dropout; torch gives its own when asked."""
    network = TRANSFORMERS[name]().eval()
    with torch.no_grad():
        for key, tensor in network.named_parameters():
            if "qkv" in key or "in_proj" in key:
                tensor.normal_(generator=torch.Generator().manual_seed(len(key)))
    x = noise()
    shown: list[torch.Tensor] = []

    def ask(layer: nn.MultiheadAttention, args: tuple[torch.Tensor, ...]) -> None:
        if len(args) == 3:
            shown.append(nn.MultiheadAttention.forward(layer, *args, need_weights=True)[1])

    found = attention_rollout(network, x)
    for layer in network.modules():
        if isinstance(layer, nn.MultiheadAttention):
            layer.register_forward_pre_hook(ask)
        elif hasattr(layer, "fused_attn"):
            layer.fused_attn = False
            layer.attn_drop.register_forward_hook(lambda _, args, __: shown.append(args[0].mean(dim=1)))
    with torch.no_grad():
        network(x)
    assert len(shown) == 3
    whole = torch.eye(17).expand(2, 17, 17)
    for weights in shown:
        whole = (torch.eye(17) + weights) / 2 @ whole
    torch.testing.assert_close(found, whole[:, 0, 1:].reshape(2, 4, 4), rtol=1e-4, atol=1e-6)
    assert bool((found.sum(dim=(1, 2)) < 1).all())
    assert bool((whole[:, 0].sum(dim=1) - 1).abs().max() < 1e-5)


def test_rollout_keeps_modes_and_embeddings_and_takes_oblong_pictures():
    network = TRANSFORMERS["dinov2"]().train()
    x = noise()
    before = network.eval()(x).detach()
    network.train()
    assert attention_rollout(network, torch.randn(1, 3, 32, 48)).shape == (1, 4, 6)
    assert all(m.training for m in network.modules()) and untouched(network)
    assert torch.equal(network.eval()(x).detach(), before)


def test_networks_without_attention_and_without_a_map():
    with pytest.raises(CardError, match="no attention"):
        attention_rollout(RESNETS["imagenet"](), noise(side=64))
    assert last_map(TRANSFORMERS["timm"]()) is None
    network = TRANSFORMERS["timm"]()
    with pytest.raises(MedfmError, match="not finite"):
        attention_rollout(network, noise() * float("nan"))
    assert untouched(network)

"""Where in a picture an image network finds what it finds: Grad-CAM and attention roll-out.

Pure functions on a module: hooks are gone afterwards, no gradient is left on a parameter, and every
layer is in the mode (training or evaluation) it was in before. The maps are coarse, one value per
place of the last map or per patch; :mod:`medfm.encoders.explain_picture` lays them over a picture.

Selvaraju et al., Grad-CAM (ICCV 2017, arXiv 1610.02391); Abnar and Zuidema, Quantifying Attention
Flow in Transformers (ACL 2020, arXiv 2005.00928).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import CardError, ConfigError, MedfmError


def grad_cam(module: nn.Module, layer: nn.Module, batch: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Grad-CAM of `layer`: the channels of its map, weighted by the mean gradient of the score, where positive.

    Args:
        module: A network whose call gives embeddings (n, d).
        layer: A layer inside it whose output is a map (n, channels, rows, columns).
        batch: float32 (n, 3, H, W).
        score: Embeddings (n, d) -> (n,): what is explained, such as the similarity to a text.

    Returns:
        float32 (n, rows, columns), 0 or more, in units of the score; zero everywhere where nothing
        raises the score.

    Raises:
        CardError: The layer does not run exactly once, or its output is no map.
        ConfigError: The score is not one number per record.
        MedfmError: A value is not finite.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, out: Any) -> Tensor:
        if not isinstance(out, Tensor) or out.ndim != 4 or kept:
            raise CardError(
                "The layer gives no map for Grad-CAM.",
                expected="a layer that runs once and gives (n, channels, rows, columns)",
            )
        kept.append(out.detach().requires_grad_(True))
        # A copy: a later layer may work in place, which a leaf of the graph does not allow.
        return kept[0].clone()

    with torch.inference_mode(False), torch.enable_grad(), _evaluating(module), _hooked(layer, keep):
        scores = score(module(batch.detach().clone()))
        if not kept:
            raise CardError("The layer for Grad-CAM did not run.", expected="a layer of the image tower")
        if scores.shape != (len(batch),):
            raise ConfigError(
                f"The score has shape {tuple(scores.shape)}.", expected=f"({len(batch)},), one per record"
            )
        (slope,) = torch.autograd.grad(scores.sum(), kept[0])
    weights = slope.mean(dim=(2, 3), keepdim=True)
    return _finite((weights * kept[0].detach()).sum(dim=1).relu().float())


def attention_rollout(module: nn.Module, batch: Tensor) -> Tensor:
    """How much of every patch reaches the class token through all layers of a vision transformer.

    In each layer the mean attention over heads and the residual path count one half each; the
    layers are multiplied. It says what the class token can see, whatever is asked of it: not
    what speaks for one class.

    Args:
        module: A network with one vision transformer of timm or open_clip inside whose first token is
            the class token; its text tower, if it has one, does not run.
        batch: float32 (n, 3, H, W).

    Returns:
        float32 (n, rows, columns) of patches on the CPU, 0 or more; sums to 1 less the share of the class token
        (and of register tokens) itself.

    Raises:
        CardError: No such transformer in it.
        MedfmError: A value is not finite.
    """
    tower = getattr(module, "visual", module)
    layers = [layer for layer in tower.modules() if _is_attention(layer)]
    first = next((layer for layer in tower.modules() if isinstance(layer, nn.Conv2d)), None)
    if not layers or first is None:
        raise CardError(
            "This network has no attention between patches.",
            expected="a vision transformer of timm or open_clip",
            fix="use Grad-CAM for convolutional networks",
        )
    rows, columns = (int(side // step) for side, step in zip(batch.shape[2:], first.stride, strict=True))
    found: list[Tensor] = []

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        found.append(_attention(layer, inputs[0]).mean(dim=1).cpu())

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with torch.no_grad(), _evaluating(module):
            module(batch)
    finally:
        for handle in handles:
            handle.remove()
    if len(found) != len(layers) or any(a.shape[1:] != found[0].shape[1:] for a in found):
        raise CardError("The attention layers of this network do not run once each on the same tokens.")
    prefix = found[0].shape[1] - rows * columns
    if prefix < 1:
        raise CardError("This network has no class token before its patches, so attention cannot be rolled out.")
    flow = torch.zeros(len(batch), 1, found[0].shape[1], dtype=torch.float64)
    flow[:, 0, 0] = 1.0
    # From the last layer to the first, one row at a time: the full product is never needed.
    for weights in reversed(found):
        flow = (flow + flow @ weights.double()) / 2
    return _finite(flow[:, 0, prefix:].reshape(len(batch), rows, columns).float())


def last_map(module: nn.Module) -> nn.Module | None:
    """The last stage of the only torchvision ResNet in `module`; ``None`` where there is none."""
    from torchvision.models import ResNet

    found = [part for part in module.modules() if isinstance(part, ResNet)]
    return found[0].layer4 if len(found) == 1 else None


def has_attention(module: nn.Module) -> bool:
    """Whether the image tower holds attention layers that :func:`attention_rollout` knows."""
    return any(_is_attention(layer) for layer in getattr(module, "visual", module).modules())


def _is_attention(layer: nn.Module) -> bool:
    timm = all(hasattr(layer, name) for name in ("qkv", "q_norm", "k_norm", "num_heads", "scale"))
    return timm or isinstance(layer, nn.MultiheadAttention)


def _attention(layer: Any, x: Tensor) -> Tensor:
    """float (n, heads, tokens, tokens), rows sum to 1: the attention of one layer on its input `x`.

    Computed again beside the layer, whose own fast path never shows it.
    """
    if isinstance(layer, nn.MultiheadAttention):
        if not layer.batch_first:
            x = x.transpose(0, 1)
        if layer.in_proj_weight is None:
            raise CardError("Attention with keys of another width than queries is not known here.")
        width, heads = layer.embed_dim, layer.num_heads
        bias = layer.in_proj_bias[: 2 * width] if layer.in_proj_bias is not None else None
        both = nn.functional.linear(x, layer.in_proj_weight[: 2 * width], bias)
        q, k = both.unflatten(-1, (2, heads, width // heads)).permute(2, 0, 3, 1, 4)
        scale = (width // heads) ** -0.5
    else:
        q, k, _ = layer.qkv(x).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, scale = layer.q_norm(q), layer.k_norm(k), layer.scale
    return ((q * scale) @ k.transpose(-2, -1)).float().softmax(dim=-1)


def _finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise MedfmError("The heat map holds values that are not finite.", fix="check the weights with 'medfm doctor'")
    return values


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Every layer in evaluation mode within the block, and in its own mode again afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()

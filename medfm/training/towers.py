"""CLIP, FLAIR and ConVIRT as they are trained: both towers' embeddings and the loss of one (gathered) batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.clip import BertTower, Clip
from medfm.encoders.convirt import Convirt
from medfm.encoders.flair import Flair
from medfm.objectives.contrastive import caption_loss, clip_loss, siglip_loss
from medfm.objectives.convirt import convirt_losses
from medfm.objectives.flair import category_targets, clamp_scale, flair_losses
from medfm.objectives.merl import retrieval_accuracy
from medfm.training.caption_decoder import CaptionDecoder
from medfm.training.pair_model import Collect, PairModel
from medfm.training.text_windows import read_windows
from medfm.training.towers_config import ClipRecipe, ConvirtRecipe, FlairRecipe, TowersRecipe

Towers = Clip | Flair | Convirt
SIGLIP_SCALE = 10.0


class TowerOutputs(NamedTuple):
    """What one batch of n pairs gives.

    Attributes:
        image: (n, projection).
        text: (n, projection).
        log_scale: Logarithm of the multiplier of the cosines, a scalar; 0 where it is fixed.
        bias: Added to every logit, a scalar; 0 where the loss has none.
        caption: The decoder's loss, a scalar; 0 without one.
    """

    image: Tensor
    text: Tensor
    log_scale: Tensor
    bias: Tensor
    caption: Tensor


class TowerPairs(PairModel):
    """Either network as it is trained.

    A text tower of which nothing learns stays in evaluation mode (no dropout). The pooler of a BERT
    that is pooled in another way is of no use and does not learn.

    Args:
        network: With a text tower.
        config: The recipe.

    Raises:
        ConfigError: There is no text tower, or it has fewer layers than should learn.
    """

    def __init__(self, network: Towers, config: TowersRecipe) -> None:
        super().__init__()
        if network.args.text is None:
            raise ConfigError("The network has no text tower to train with.", expected="architecture args: text")
        self.network: Towers = network
        self.frozen_text = config.text.trained_layers == 0
        # Where padding counts, the vector of a text depends on its neighbours and cannot be kept.
        self.cache_texts = not getattr(network.args.text, "padding_counts", False)
        self.learned = isinstance(config, (ClipRecipe, FlairRecipe))
        self.bias: nn.Parameter | None = None
        self.decoder: CaptionDecoder | None = None
        if isinstance(config, ClipRecipe) and isinstance(network, Clip):
            first = config.scale if config.scale is not None else SIGLIP_SCALE if config.loss == "siglip" else None
            if first is not None:
                nn.init.constant_(network.logit_scale, math.log(first))
            if config.loss == "siglip":
                self.bias = nn.Parameter(torch.tensor(float(config.bias)))
            if config.loss == "coca":
                source = torch.Generator().manual_seed(config.seed)
                self.cache_texts = False  # the decoder needs the tokens
                text, image = network.args.text, network.args.image
                self.decoder = CaptionDecoder(text.vocabulary, image.width, image.heads, config.decoder_layers, source)
        _freeze(self, config.text.trained_layers)

    def train(self, mode: bool = True) -> TowerPairs:
        """As usual, except for a frozen text tower."""
        super().train(mode)
        if self.frozen_text:
            self.text_tower().eval()
        return self

    def text_tower(self) -> nn.Module:
        """BERT, or CLIP's own text transformer (with its projection)."""
        net = self.network
        if isinstance(net, Clip):
            tower = net.text.transformer if isinstance(net.text, BertTower) else net.text
        else:
            tower = net.text_model.model if isinstance(net, Flair) else net.bert_model
        assert isinstance(tower, nn.Module)
        return tower

    def text_feature(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(n, width) before the projection; of CLIP's own tower the embedding itself."""
        net = self.network
        if isinstance(net, Clip):
            return net.text.feature(ids, mask) if isinstance(net.text, BertTower) else net.encode(ids, mask)
        return net.pooled_text(ids, mask)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection)."""
        return self.network.encode(ids, mask)

    def forward(self, records: Tensor, *text: Tensor) -> TowerOutputs:
        """Outputs for float32 (n, 3, H, W) and (ids, mask), or (sentence vectors,) of the frozen tower."""
        net, zero = self.network, records.new_zeros(())
        scale = zero
        if self.learned:
            assert isinstance(net, (Clip, Flair))
            clamp_scale(net.logit_scale.data)
            scale = net.logit_scale
        sentence = net.encode(*text) if len(text) == 2 else self._project(read_windows(self.text_feature, *text))
        caption = zero
        if self.decoder is not None:
            assert isinstance(net, Clip)
            caption = caption_loss(*self.decoder.predictions(net.tokens(records), *text))
        bias = zero if self.bias is None else self.bias
        return TowerOutputs(net(records), sentence, scale * 1.0, bias * 1.0, caption)

    def _project(self, feature: Tensor) -> Tensor:
        net = self.network
        if isinstance(net, Clip):
            out: Tensor = net.text.proj(feature) if isinstance(net.text, BertTower) else feature
            return out
        if isinstance(net, Flair):
            projected: Tensor = net.text_model.projection_head_text(feature)
            return projected
        return net.project_text(feature)


def _freeze(model: TowerPairs, trained: int | str) -> None:
    """Let only the last `trained` layers of the text tower learn; ``"all"``: everything that is used."""
    tower = model.text_tower()
    own = isinstance(model.network, Clip) and not isinstance(model.network.text, BertTower)
    layers = list(tower.transformer.resblocks if own else tower.encoder.layer)  # type: ignore[union-attr, arg-type]
    pooler = getattr(tower, "pooler", None)
    used = isinstance(model.network, Clip) and getattr(model.network.args.text, "pooling", "") == "pooler"
    if trained != "all":
        count = int(trained)
        if count > len(layers):
            raise ConfigError(
                f"The text tower has {len(layers)} layers, {count} should learn.",
                expected=f"0 to {len(layers)}, or all",
            )
        tower.requires_grad_(False)
        parts: list[nn.Module] = list(layers[-count:]) if count else []
        if own and count:
            parts.append(tower.ln_final)  # type: ignore[arg-type]
            tower.text_projection.requires_grad_(True)  # type: ignore[operator, union-attr]
        if count and used and pooler is not None:
            parts.append(pooler)
        for part in parts:
            part.requires_grad_(True)
    if pooler is not None and not used:
        pooler.requires_grad_(False)
    if isinstance(model.network, Clip) and not model.learned:
        model.network.logit_scale.requires_grad_(False)


def tower_loss(
    outputs: TowerOutputs, config: TowersRecipe, gather: Collect | None = None, groups: Tensor | None = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Loss terms (``total`` and its parts), retrieval accuracies (``top1``, ``top5``) and ``scale`` of a batch.

    Args:
        outputs: Of this process.
        config: The recipe.
        gather: Adds the rows of the other processes.
        groups: int64 (n,), the category of each pair (FLAIR); pairs without one belong to themselves.
    """
    collect = gather if gather is not None else Tensor.float
    image, text = collect(outputs.image), collect(outputs.text)
    # Scalars get the whole gradient in every process, rows their own share: see gradient_factor.
    share = len(outputs.image) / len(image) if config.gather == "full" else 1.0
    log_scale, bias, caption = (_gradient_times(x.float(), share) for x in outputs[2:])
    terms: dict[str, Tensor]
    if isinstance(config, FlairRecipe):
        target = _targets(groups, len(image), image.device, collect if gather is not None else None)
        found = flair_losses(_unit(image), _unit(text), log_scale, target)
        terms = {"total": found.total, "image_to_text": found.image, "text_to_image": found.text}
    elif isinstance(config, ConvirtRecipe):
        both = convirt_losses(image, text, config.temperature, config.image_to_text)
        terms = {"total": both.total, "image_to_text": both.image_to_text, "text_to_image": both.text_to_image}
    else:
        assert isinstance(config, ClipRecipe)
        scale = log_scale.exp()
        if config.loss == "siglip":
            terms = {"total": siglip_loss(_unit(image), _unit(text), scale, bias)}
        else:
            contrast = clip_loss(_unit(image), _unit(text), scale)
            terms = {"total": contrast}
            if config.loss == "coca":
                terms = {"total": contrast + config.caption * caption, "contrast": contrast, "caption": caption}
    values = {f"top{k}": retrieval_accuracy(image.detach(), text.detach(), k) for k in (1, 5)}
    if not isinstance(config, ConvirtRecipe):
        values["scale"] = float(outputs.log_scale.detach().exp())
    return terms, values


def _targets(groups: Tensor | None, count: int, device: torch.device, gather: Collect | None) -> Tensor:
    if groups is None:
        groups = torch.arange(count)
    elif gather is not None:
        # Numbers of categories are small, so float32 holds them exactly.
        groups = gather(groups.float()[:, None].to(device))[:, 0].long()
    return category_targets([str(number) for number in groups.tolist()], device)


def _gradient_times(x: Tensor, factor: float) -> Tensor:
    """`x` itself, whose gradient is `factor` times as large."""
    return x if factor == 1.0 else x * factor + x.detach() * (1 - factor)


def _unit(x: Tensor) -> Tensor:
    return nn.functional.normalize(x.float(), dim=-1)

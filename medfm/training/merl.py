"""The MERL recipe: signals and reports through their towers, and the loss of one (gathered) batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from medfm.core.errors import ConfigError
from medfm.encoders.bert_tower import pooled_text
from medfm.encoders.merl import Merl
from medfm.objectives.merl import MerlLosses, merl_losses, retrieval_accuracy
from medfm.training.pair_model import PairModel
from medfm.training.pairs_config import MerlRecipe, TextRule
from medfm.training.text_windows import read_windows


class MerlOutputs(NamedTuple):
    """Embeddings of signals and reports and the two views of the signals, each (n, projection)."""

    signal: Tensor
    text: Tensor
    view1: Tensor
    view2: Tensor


class MerlPairs(PairModel):
    """The network as it is trained; ``network`` is what is saved.

    A text tower of which nothing learns stays in evaluation mode (no dropout), so that its vectors
    may be computed once.

    Args:
        network: With heads and text tower.
        rule: What of the tower learns.
    """

    def __init__(self, network: Merl, rule: TextRule) -> None:
        super().__init__()
        if network.args.text is None:
            raise ConfigError("The network has no text tower to train with.", expected="architecture args: text")
        self.network: Merl = network
        self.frozen_text = rule.trained_layers == 0
        freeze_text(network, rule.trained_layers)

    def train(self, mode: bool = True) -> MerlPairs:
        """As usual, except for a frozen text tower."""
        super().train(mode)
        if self.frozen_text:
            self.network.lm_model.eval()
        return self

    def forward(self, records: Tensor, *text: Tensor) -> MerlOutputs:
        """Outputs for float32 (n, leads, samples) and (ids, mask), or (sentence vectors,) of the frozen tower."""
        signal, view1, view2 = self.network.training_outputs(records)
        sentence = read_windows(partial(pooled_text, self.network.lm_model), *text)
        return MerlOutputs(signal, self.network.proj_t(sentence), view1, view2)

    def text_tower(self) -> nn.Module:
        """MedCPT, or what stands in its place."""
        tower: nn.Module = self.network.lm_model
        return tower

    def text_feature(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The pooler's output (n, width)."""
        return pooled_text(self.network.lm_model, ids, mask)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Text embeddings (n, projection)."""
        return self.network.text(ids, mask)


def freeze_text(network: Merl, trained: int | str) -> None:
    """Let only the last `trained` layers of the text tower (and its pooler) learn; ``"all"``: everything.

    Raises:
        ConfigError: The tower has fewer layers.
    """
    tower = network.lm_model
    layers = list(tower.encoder.layer)
    if trained == "all":
        return
    count = int(trained)
    if count > len(layers):
        raise ConfigError(
            f"The text tower has {len(layers)} layers, {count} should learn.", expected=f"0 to {len(layers)}, or all"
        )
    tower.requires_grad_(False)
    if count:
        for part in (*layers[-count:], tower.pooler):
            part.requires_grad_(True)


def pair_loss(
    outputs: MerlOutputs, config: MerlRecipe, gather: Callable[[Tensor], Tensor] | None = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Loss terms (``total``, ``cma``, ``uma``) and retrieval accuracies (``top1``, ``top5``) of a batch.

    Args:
        outputs: Of this process.
        config: The recipe.
        gather: Adds the rows of the other processes.
    """
    parts = [part.float() for part in outputs] if gather is None else [gather(part) for part in outputs]
    signal, text, view1, view2 = parts
    found: MerlLosses = merl_losses(signal, text, view1, view2, config.temperature)
    terms = {"total": found.cma + config.uma * found.uma, "cma": found.cma, "uma": found.uma}
    return terms, {f"top{k}": retrieval_accuracy(signal.detach(), text.detach(), k) for k in (1, 5)}

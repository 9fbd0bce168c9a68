"""The DINOv2 recipe: student, moving-average teacher, heads, and the loss of one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from medfm.objectives.centering import Center
from medfm.objectives.dino import dino_loss
from medfm.objectives.dino_head import DinoHead
from medfm.objectives.dinov2 import LossRule, combine
from medfm.objectives.ibot import ibot_masked_loss, mask_weights
from medfm.objectives.koleo import koleo_loss
from medfm.objectives.sinkhorn import Reduce, one_process, sinkhorn_knopp
from medfm.training.batches import Batch
from medfm.training.config import Heads, PretrainConfig
from medfm.training.param_groups import param_groups


class Outputs(NamedTuple):
    """What a forward pass gives: logits of class tokens and masked patches, and raw class tokens."""

    global_logits: Tensor
    local_logits: Tensor
    patch_logits: Tensor
    class_tokens: Tensor


class Tower(nn.Module):
    """Backbone and heads. State keys: ``backbone.*``, ``dino_head.*`` and, if not shared, ``ibot_head.*``.

    Args:
        backbone: Has ``features(x, masks) -> (class tokens (n, d), patch tokens (n, p, d))``.
        width: d.
        heads: Shape of the heads.
        generator: Source of the heads' first weights.
    """

    def __init__(self, backbone: nn.Module, width: int, heads: Heads, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone = backbone
        shape = (width, heads.prototypes, heads.hidden, heads.bottleneck)
        self.dino_head = DinoHead(*shape, generator=generator)
        self.ibot_head = None if heads.shared else DinoHead(*shape, generator=generator)

    def patch_logits(self, tokens: Tensor) -> Tensor:
        """Prototype logits of patch tokens, by the shared or the separate head."""
        return cast(Tensor, (self.ibot_head or self.dino_head)(tokens))

    def parts(self) -> dict[str, nn.Module]:
        """The sub-modules whose gradients are clipped separately."""
        found = {"backbone": self.backbone, "dino_head": self.dino_head}
        return found if self.ibot_head is None else {**found, "ibot_head": self.ibot_head}

    def forward(self, global_crops: Tensor, masks: Tensor, local_crops: Tensor, hide: bool) -> Outputs:
        """One pass over all crops.

        Args:
            global_crops: float (2 b, 3, S, S).
            masks: bool (2 b, p): the patches whose logits are wanted.
            local_crops: float (L b, 3, s, s); L b may be 0.
            hide: Whether those patches are hidden (the student) or seen (the teacher).
        """
        features = cast(Callable[..., tuple[Tensor, Tensor]], self.backbone.features)
        class_tokens, patches = features(global_crops, masks if hide else None)
        global_logits = self.dino_head(class_tokens)
        local_logits = self.dino_head(features(local_crops)[0]) if len(local_crops) else global_logits[:0]
        return Outputs(global_logits, local_logits, self.patch_logits(patches[masks]), class_tokens)


class Dinov2(nn.Module):
    """Student, teacher and centres of one run; knows neither optimiser nor loop.

    Args:
        backbone: The untrained network; the teacher starts as its copy.
        width: Width of its tokens.
        blocks: Number of its blocks (for the layer-wise learning rate).
        config: The recipe.
        generator: Source of the heads' first weights.
    """

    def __init__(
        self, backbone: nn.Module, width: int, blocks: int, config: PretrainConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.blocks = blocks
        self.student = Tower(backbone, width, config.heads, generator)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.class_center = Center(config.heads.prototypes)
        self.patch_center = Center(config.heads.prototypes)
        rule = config.objective
        self.rule = LossRule(rule.dino, rule.ibot, rule.koleo, rule.least_local_crops)

    def param_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups of the student: backbone, then heads."""
        rule = self.config.optimisation
        groups = param_groups(
            self.student.backbone, blocks=self.blocks, layer_decay=rule.layer_decay, patch_embed_lr=rule.patch_embed_lr
        )
        for name, part in self.student.parts().items():
            groups += param_groups(part) if name != "backbone" else []
        return groups

    @torch.no_grad()
    def targets(self, batch: Batch, temperature: float, reduce: Reduce) -> tuple[Tensor, Tensor]:
        """Teacher probabilities: class tokens (2 b, K) with the crops swapped, masked patches (m, K).

        The first half belongs to the second crops, so that each half is the target of the
        student's other crop. With softmax centring the centres are moved afterwards.
        """
        seen = self.teacher(batch.global_crops, batch.masks, batch.local_crops[:0], False)
        first, second = seen.global_logits.chunk(2)
        swapped = torch.cat([second, first])
        if self.config.objective.centering == "sinkhorn":
            return (
                sinkhorn_knopp(swapped, temperature, reduce=reduce),
                sinkhorn_knopp(seen.patch_logits, temperature, reduce=reduce),
            )
        found = (
            self.class_center.probabilities(swapped, temperature),
            self.patch_center.probabilities(seen.patch_logits, temperature),
        )
        self.class_center.update(swapped, reduce)
        self.patch_center.update(seen.patch_logits, reduce)
        return found

    def loss(
        self, batch: Batch, temperature: float, *, student: nn.Module | None = None, reduce: Reduce = one_process
    ) -> dict[str, Tensor]:
        """The weighted loss terms of a batch and their ``total``.

        Args:
            batch: Crops and masks.
            temperature: Teacher temperature of this step.
            student: The student as wrapped for several processes; the bare one when not given.
            reduce: Sums over processes.
        """
        class_targets, patch_targets = self.targets(batch, temperature, reduce)
        run = student if student is not None else self.student
        seen: Outputs = run(batch.global_crops, batch.masks, batch.local_crops, True)
        warmth, crops = self.config.objective.student_temperature, self.config.views.local_crops
        local = seen.local_logits.chunk(crops) if crops else ()
        return combine(
            self.rule,
            local_crops=crops,
            global_ce=dino_loss([seen.global_logits], [class_targets], warmth),
            local_ce=dino_loss(local, class_targets.chunk(2), warmth),
            ibot=ibot_masked_loss(
                seen.patch_logits, patch_targets, mask_weights(batch.masks), len(batch.global_crops), warmth
            ),
            koleo=torch.stack([koleo_loss(half) for half in seen.class_tokens.chunk(2)]).sum(),
        )

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """``teacher = momentum * teacher + (1 - momentum) * student``, parameter by parameter."""
        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = list(self.student.parameters())
        torch._foreach_mul_(teacher, momentum)
        torch._foreach_add_(teacher, student, alpha=1 - momentum)

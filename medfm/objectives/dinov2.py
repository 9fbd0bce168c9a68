"""How DINOv2, DinoBloom and RedDino put their loss terms together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# Two global crops, each predicted from the other; the iBOT loss of both is halved by a mean.
_GLOBAL_TERMS = 2


@dataclass(frozen=True)
class LossRule:
    """Weights of the terms and the rule for local crops.

    Attributes:
        dino: Weight of the class-token terms (global and local).
        ibot: Weight of the masked-patch term.
        koleo: Weight of the spreading term; 0 switches it off.
        least_local_crops: The local term counts from this number of local crops on. Upstream 1;
            DinoBloom and RedDino 2, so that their single local crop adds nothing while still
            standing in the denominator.
    """

    dino: float = 1.0
    ibot: float = 1.0
    koleo: float = 0.1
    least_local_crops: int = 1


# DINOv2 (arXiv 2304.07193); DinoBloom (arXiv 2404.05022); RedDino (arXiv 2508.08180), from their public code.
UPSTREAM = LossRule()
DINOBLOOM = LossRule(least_local_crops=2)
REDDINO = LossRule(koleo=0.0, least_local_crops=2)


def combine(
    rule: LossRule, *, local_crops: int, global_ce: Tensor, local_ce: Tensor, ibot: Tensor, koleo: Tensor
) -> dict[str, Tensor]:
    """The weighted terms and their sum.

    With g = 2 global terms and l = max(2 * local_crops, 1) local terms, the local sum is divided
    by g + l, and the global cross-entropy is multiplied by 2 / (g + l).

    Args:
        rule: Weights and the rule for local crops.
        local_crops: Number of local crops per image.
        global_ce: Mean cross-entropy over the concatenated global crops, teacher crops swapped.
        local_ce: Sum of mean cross-entropies over all (local, global) pairs.
        ibot: Masked-patch loss over both global crops (already divided by all images).
        koleo: Sum of the spreading losses of the two global crops' class tokens.

    Returns:
        Scalars ``local``, ``global``, ``koleo``, ``ibot`` as weighted, and ``total``.
    """
    terms = _GLOBAL_TERMS + max(2 * local_crops, 1)
    local_weight = rule.dino / terms if local_crops >= rule.least_local_crops else 0.0
    parts = {
        "local": local_ce * local_weight,
        "global": global_ce * (rule.dino * _GLOBAL_TERMS / terms),
        "koleo": koleo * rule.koleo,
        "ibot": ibot * rule.ibot,
    }
    parts["total"] = parts["local"] + parts["global"] + parts["koleo"] + parts["ibot"]
    return parts

"""Networks by id: untrained, or filled from a checkpoint with a grouped key report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medfm.core.errors import WeightsError
from medfm.encoders import families
from medfm.encoders.card import Card
from medfm.encoders.families import Family, family_args, get_family
from medfm.encoders.keymaps import KeyReport, match
from medfm.encoders.lookalikes import hints
from medfm.encoders.registry import get_card
from medfm.encoders.safety import check_state, load_checkpoint

if TYPE_CHECKING:
    from torch import nn


def family_of(card: Card) -> tuple[Family, Any]:
    """The architecture family of a card and its validated arguments."""
    spec = card.spec.architecture
    return get_family(spec.family), family_args(spec.family, spec.args, str(card.path))


def build(name: str | Path | Card, seed: int = 0, device: str = "cpu") -> nn.Module:
    """The untrained network of an encoder, float32, in training mode.

    Args:
        name: Encoder id, card file, folder with ``card.md``, or a card.
        seed: Seed of the first weights.
        device: ``"cpu"``, ``"cuda"``..., or ``"meta"`` for shapes without memory.
    """
    card = name if isinstance(name, Card) else get_card(name)
    family, args = family_of(card)
    return family.build(args, torch.Generator().manual_seed(seed), device)


def plain_shapes(card: Card) -> dict[str, tuple[int, ...]]:
    """Plain tensor name -> shape of the network of a card, without memory for it."""
    return families.plain_shapes(card.spec, str(card.path))


def load_published(
    name: str | Path | Card, state_or_path: Mapping[str, Any] | str | Path
) -> tuple[nn.Module, KeyReport]:
    """Load a checkpoint in any layout the card declares.

    Args:
        name: Encoder id, card file, folder with ``card.md``, or a card.
        state_or_path: A checkpoint file, or what it holds (nested or flat).

    Returns:
        The network on the CPU, float32, in evaluation mode, and the report on every tensor.

    Raises:
        WeightsError: The file is damaged or unsafe, a tensor is missing, left over, of another
            shape or not finite. The message holds the grouped report and, where one fits, the
            encoder that the checkpoint looks like.
    """
    card = name if isinstance(name, Card) else get_card(name)
    if isinstance(state_or_path, Mapping):
        where, content = "the state dict given", state_or_path
    else:
        where = str(state_or_path)
        content = check_state(load_checkpoint(state_or_path, card.spec.weights.safe_globals), where)
    family, args = family_of(card)
    wanted = plain_shapes(card)
    tensors, report = match(content, wanted, card.spec.weights.key_map, where)
    report = replace(report, assumed=tuple(getattr(args, "assumed", ())))
    if not report.ok:
        report = hints(report, content, card, where)
        raise WeightsError(
            f"The checkpoint does not fit '{card.id}'.\n"
            + "\n".join(f"    {line}" for line in str(report).split("\n")),
            where=where,
            fix="check that the file belongs to this model; 'medfm encoders show ID' tells the layout",
        )
    check_finite(tensors, where)
    # One tensor of a text tower that a card calls optional (an unused pooler) is not the whole tower.
    if any(map(family.is_text, report.absent)) and not any(map(family.is_text, tensors)):
        args = args.without_text()
    module = family.build(args, None, "meta")
    fill(module, family.plain_names(module), tensors, report.absent)
    return module.eval(), report


def check_finite(tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Refuse a checkpoint that holds NaN or infinity (raises WeightsError)."""
    bad = [plain for plain, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(
            f"The checkpoint holds values that are not finite in {len(bad)} tensors, such as {bad[0]}.", where=where
        )


def fill(
    module: nn.Module, names: Mapping[str, str], tensors: Mapping[str, torch.Tensor], absent: Collection[str] = ()
) -> None:
    """Give `module`, built on the meta device, copies of `tensors`, float32 on the CPU.

    Args:
        module: The network; every tensor of it must be given or absent.
        names: Plain name -> key in ``module.state_dict()``.
        tensors: Plain name -> tensor.
        absent: Plain names that become 0.
    """
    wanted = module.state_dict()
    # Copies: tensors of a file that is mapped into memory must not outlive a change of the file.
    state = {
        names[plain]: tensor.detach().to("cpu", _kept(tensor), copy=True).contiguous()
        for plain, tensor in tensors.items()
    }
    state |= {names[plain]: torch.zeros(wanted[names[plain]].shape) for plain in absent if plain in names}
    module.load_state_dict(state, strict=True, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(True)


def _kept(tensor: torch.Tensor) -> torch.dtype:
    # Counters (BatchNorm's number of batches) stay whole numbers; everything else is float32.
    return torch.float32 if tensor.is_floating_point() else tensor.dtype

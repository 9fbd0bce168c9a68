"""Updates of low rank in the layout of the library PEFT: ``adapter_config.json`` and ``adapter_model.safetensors``.

Names and shapes as PEFT 0.21.2 writes them for a bare network: ``base_model.model.NAME.lora_A.weight`` and ``lora_B``;
of a convolution A is a convolution of the same kernel and B one of kernel 1; of ``nn.MultiheadAttention`` the update of
the packed projection stands at the module itself and that of the last one under ``base_layer.out_proj``, zeros here: PEFT
0.21.2 adds that one twice. PEFT is not needed to write or read them. The files hold no patient and no base weights.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import WeightsError
from medfm.core.files import atomic_path, make_folder, write_json
from medfm.encoders.encoder import Encoder
from medfm.training.lora import LowRank

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ROOT, _LAST = "base_model.model.", ".base_layer.out_proj"
_KEY = re.compile(r"^base_model\.model\.(.+)\.lora_([AB])\.weight$")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Adapter:
    """Updates of low rank apart from the network they belong to.

    Attributes:
        updates: Name of a weight -> A, float (rank, columns), and B, float (rows, rank).
        rank: Of all of them; smaller ones are filled up with zeros.
        alpha: A weight becomes W + alpha / rank * B A.
    """

    updates: Mapping[str, tuple[Tensor, Tensor]]
    rank: int
    alpha: float


def take_adapter(network: nn.Module, untouched: nn.Module) -> Adapter | str:
    """The updates that stand beside the weights of `network`, or why they cannot be given away alone.

    Args:
        network: With updates (:func:`medfm.training.lora.add_lora`), before they are merged.
        untouched: The network that an importer will have: all else must be equal in both.
    """
    parts = {n: m for n, m in network.named_modules() if isinstance(m, LowRank)}
    if not parts:
        return "there are no updates of low rank"
    base = {re.sub(r"parametrizations\.(\w+)\.original$", r"\1", n): v for n, v in network.state_dict().items()}
    base = {n: v for n, v in base.items() if ".parametrizations." not in n and not n.startswith("parametrizations.")}
    known = untouched.state_dict()
    if base.keys() != known.keys() or any(not torch.equal(v.cpu(), known[n].cpu()) for n, v in base.items()):
        return "an earlier stage changed the weights under the updates"
    rank = max(part.a.shape[0] for part in parts.values())
    scales = {round(part.scale, 12) for part in parts.values()}
    if len(scales) > 1:
        return "the updates are scaled differently"
    updates = {}
    for place, part in parts.items():
        name = re.sub(r"parametrizations\.(\w+)\.0$", r"\1", place)
        odd = _odd(network, name)
        if odd:
            return odd
        lacking = rank - part.a.shape[0]
        a = nn.functional.pad(part.a.detach().float().cpu(), (0, 0, 0, lacking))
        b = nn.functional.pad(part.b.detach().float().cpu(), (0, lacking))
        updates[name] = (a.clone(), b.clone())
    return Adapter(updates, rank, next(iter(scales)) * rank)


def _odd(network: nn.Module, name: str) -> str:
    """Why PEFT has no layer for the weight `name`; empty where it has one."""
    place, _, leaf = name.rpartition(".")
    module = network.get_submodule(place)
    if isinstance(module, _CONVOLUTIONS) and leaf == "weight":
        # PEFT's convolutions beside the weight are neither dilated nor in groups, and pad with zeros.
        plain = set(module.dilation) == {1} and module.groups == 1 and module.padding_mode == "zeros"
        return "" if plain else f"PEFT has no update for the dilated or grouped convolution '{place}'"
    outer = network.get_submodule(place.rpartition(".")[0])
    if isinstance(outer, nn.MultiheadAttention):
        return f"PEFT 0.21.2 adds the update of '{place}', the last projection of nn.MultiheadAttention, twice"
    if isinstance(module, nn.Linear) and leaf == "weight":
        return ""
    if isinstance(module, nn.MultiheadAttention) and leaf == "in_proj_weight":
        return ""
    return f"PEFT has no update for '{name}'"


def _tensors(adapter: Adapter, network: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by PEFT's names, and the modules they belong to."""
    tensors: dict[str, Tensor] = {}
    targets = set()
    attention = {n: m.embed_dim for n, m in network.named_modules() if isinstance(m, nn.MultiheadAttention)}
    for name, (a, b) in adapter.updates.items():
        place = name.rpartition(".")[0]
        module = network.get_submodule(place)
        if isinstance(module, _CONVOLUTIONS):
            ones = (1,) * len(module.kernel_size)
            a = a.view(len(a), module.in_channels, *module.kernel_size)
            b = b.view(*b.shape, *ones)
        targets.add(place)
        tensors |= {f"{_ROOT}{place}.lora_A.weight": a, f"{_ROOT}{place}.lora_B.weight": b}
    for name in targets & attention.keys():  # PEFT updates both projections or none
        place, side = f"{name}{_LAST}", attention[name]
        tensors[f"{_ROOT}{place}.lora_A.weight"] = torch.zeros(adapter.rank, side)
        tensors[f"{_ROOT}{place}.lora_B.weight"] = torch.zeros(side, adapter.rank)
    return tensors, sorted(targets)


def save_adapter(folder: str | Path, adapter: Adapter, network: nn.Module, base: str) -> None:
    """Write the two files, the description last.

    Args:
        folder: Made where it is missing.
        adapter: What to write.
        network: The one it belongs to, or one like it.
        base: Name of the encoder it belongs to.

    Raises:
        StoreError: The folder cannot be written to.
    """
    from safetensors.torch import save

    place = make_folder(folder)
    tensors, targets = _tensors(adapter, network)
    with atomic_path(place / WEIGHTS) as temporary:
        temporary.write_bytes(save({n: t.contiguous() for n, t in tensors.items()}, metadata={"format": "pt"}))
    alpha = int(adapter.alpha) if float(adapter.alpha).is_integer() else adapter.alpha
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_dora": False,
        "use_rslora": False,
        # A pattern for whole names: in a list, "conv1" would mean "layer1.0.conv1" too.
        "target_modules": "(?:" + "|".join(re.escape(name) for name in targets) + ")",
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    write_json(place / CONFIG, config)


def merge_adapter(network: nn.Module, folder: str | Path) -> None:
    """Add the updates of an adapter to the weights of `network`, in place; nothing is changed where anything is wrong.

    Args:
        network: The one the adapter was trained on.
        folder: With the two files, as ``medfm finetune --recipe lora`` or PEFT writes them.

    Raises:
        WeightsError: The files are missing or damaged, belong to another network, or say what is not plain LoRA.
    """
    place = Path(folder)
    scale, tensors = _read(place)
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        found = _KEY.match(key)
        if found is None or not bool(torch.isfinite(value).all()):
            raise _foreign(place, f"'{key}' is not finite, or no tensor of an update of low rank")
        pairs.setdefault(found[1], {})[found[2]] = value.float()
    wanted: list[tuple[Tensor, Tensor]] = []
    for name, pair in pairs.items():
        if name.endswith(_LAST) and "B" in pair:
            if bool(pair["B"].any()):
                raise _foreign(place, f"PEFT 0.21.2 adds '{name}' twice, so it is not known what it was trained to be")
            continue
        weight = _weight(network, name)
        if weight is None or set(pair) != {"A", "B"}:
            raise _foreign(place, f"there is no layer '{name}' with both factors")
        a, b = pair["A"], pair["B"]
        fits = a.ndim > 1 and b.ndim > 1 and b[0].numel() == len(a)
        if not fits or (len(b), a[0].numel()) != (len(weight), weight[0].numel()):
            raise _foreign(place, f"the factors of '{name}' are {tuple(a.shape)} and {tuple(b.shape)}")
        wanted.append((weight, scale * (b.flatten(1) @ a.flatten(1)).view_as(weight)))
    with torch.no_grad():
        for weight, update in wanted:
            weight += update.to(weight)


def with_adapter(encoder: Encoder, folder: str | Path) -> Encoder:
    """`encoder` with the updates of an adapter in a copy of its weights; it stays as it is itself.

    Args:
        encoder: The one the adapter was trained on.
        folder: As of :func:`merge_adapter`.

    Raises:
        WeightsError: As of :func:`merge_adapter`.
    """
    network = copy.deepcopy(encoder.module)
    merge_adapter(network, folder)
    return Encoder(
        encoder.card,
        network,
        encoder.weights_kind,
        f"{encoder.weights_note}; with updates of low rank from {Path(folder).name}",
        encoder.key_report,
        device=next(network.parameters()).device,
        variant=encoder.variant,
    )


def _weight(network: nn.Module, name: str) -> Tensor | None:
    """The weight that PEFT's name of a layer means."""
    module = dict(network.named_modules()).get(name)
    found = getattr(module, "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight", None)
    return found.detach() if isinstance(found, nn.Parameter) and found.ndim >= 2 else None


def _read(place: Path) -> tuple[float, dict[str, Tensor]]:
    """alpha / rank and the tensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        odd = [key for key in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save") if config.get(key)]
        if config["peft_type"] != "LORA" or odd or config.get("bias", "none") != "none" or rank < 1:
            raise ValueError(f"it is not plain LoRA ({', '.join(odd) or config['peft_type']})")
        tensors = load_file(place / WEIGHTS)
        if not tensors:
            raise ValueError("it holds no tensors")
        return alpha / (rank**0.5 if config.get("use_rslora") else rank), tensors
    except (OSError, KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise WeightsError(
            f"The adapter cannot be read: {error}.",
            where=str(place),
            expected=f"{CONFIG} and {WEIGHTS} of plain LoRA, as PEFT or 'medfm finetune --recipe lora' writes them",
        ) from error


def _foreign(place: Path, why: str) -> WeightsError:
    return WeightsError(
        f"The adapter does not fit the network: {why}.",
        where=str(place),
        fix="take it with the encoder it was trained on (base_model_name_or_path in its description)",
    )

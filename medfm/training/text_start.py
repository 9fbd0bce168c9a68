"""The first weights of a text tower from a published BERT on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medfm.core.errors import WeightsError
from medfm.encoders.card_schema import TextSpec
from medfm.encoders.merl_args import BertArgs
from medfm.encoders.safety import check_state, load_checkpoint
from medfm.encoders.weights import weights_folder

FILES = ("model.safetensors", "pytorch_model.bin")
_SIZES = {  # key of config.json -> argument
    "vocab_size": "vocabulary",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "feed_forward",
    "max_position_embeddings": "positions",
}


def find_bert(spec: TextSpec, given: str | None = None) -> Path:
    """The weights file of the tower: in the folder `given`, in ``WEIGHTS/OWNER--REPOSITORY``, or in the hub's cache.

    Raises:
        WeightsError: It is in none of these places. Nothing is downloaded.
    """
    places = [Path(given).expanduser()] if given is not None else []
    if given is None and spec.tokenizer is not None:
        places.append(weights_folder() / spec.tokenizer.replace("/", "--"))
    for folder in places:
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    if given is None and spec.tokenizer is not None:
        from huggingface_hub import try_to_load_from_cache

        for name in FILES:
            hit = try_to_load_from_cache(spec.tokenizer, name, revision=spec.revision)
            if isinstance(hit, str):
                return Path(hit)
    raise WeightsError(
        "The text tower to start from is not on this machine.",
        where=str(places[0]) if places else "no repository is named by the card",
        expected=f"a folder with config.json, {' or '.join(FILES)} and vocab.txt of {spec.tokenizer or 'a BERT'}",
        fix="get the folder and name it with --set text.weights=FOLDER, "
        "or start from nothing: --set text.start=random --set text.trained_layers=all",
    )


def start_text(tower: nn.Module, args: BertArgs, file: Path) -> None:
    """Fill `tower` (a ``BertModel`` with pooler) from a BERT checkpoint, strictly.

    Args:
        tower: Filled in place.
        args: Its sizes, compared with ``config.json`` beside the file where there is one.
        file: ``model.safetensors`` or ``pytorch_model.bin``; names with or without ``bert.``.

    Raises:
        WeightsError: Another size, a tensor missing, left over or of another shape.
    """
    config = file.parent / "config.json"
    if config.is_file():
        _check_sizes(config, args)
    content = check_state(load_checkpoint(file, ()), str(file))
    state = {_plain(name): tensor for name, tensor in _flat(content, file).items()}
    wanted = tower.state_dict()
    # Heads for word prediction and tables of counted positions belong to no tower.
    state = {k: v for k, v in state.items() if not k.startswith("cls.") and not k.endswith("position_ids")}
    missing, left = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    wrong = [k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape]
    if missing or left or wrong:
        shown = "; ".join(
            f"{len(names)} {what}, such as {sorted(names)[0]}"
            for what, names in (("missing", missing), ("left over", left), ("of another shape", wrong))
            if names
        )
        raise WeightsError(f"The checkpoint is not this text tower: {shown}.", where=str(file))
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(state[name])


def _flat(content: Any, file: Path) -> dict[str, Tensor]:
    flat = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not flat:
        raise WeightsError("The checkpoint holds no tensors by name.", where=str(file), expected="a BERT state dict")
    return flat


def _plain(name: str) -> str:
    plain = name.removeprefix("bert.")
    return plain.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _check_sizes(config: Path, args: BertArgs) -> None:
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError("The config.json of the text tower cannot be read.", where=str(config)) from error
    found = {ours: values.get(key) for key, ours in _SIZES.items() if key in values}
    differ = [
        f"{name} {value} there, {getattr(args, name)} in the card"
        for name, value in found.items()
        if value != getattr(args, name)
    ]
    if differ:
        raise WeightsError("The text tower has another size: " + "; ".join(differ) + ".", where=str(config))

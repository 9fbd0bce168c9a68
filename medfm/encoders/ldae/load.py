"""The networks beside the semantic encoder: built, found on this machine, and filled from checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from medfm.core.errors import CardError, WeightsError
from medfm.core.files import atomic_path, make_folder
from medfm.core.hashing import sha256_file
from medfm.encoders.card import Card
from medfm.encoders.card_schema import FLAT, Generator, KeyMap, LocalFile, Part, Weights
from medfm.encoders.keymaps import KeyReport, match
from medfm.encoders.ldae.args import AutoencoderArgs, DenoiserArgs
from medfm.encoders.ldae.autoencoder import build_autoencoder
from medfm.encoders.ldae.generator import generator_sizes
from medfm.encoders.ldae.head import LinearHead, load_head
from medfm.encoders.ldae.unet import build_shift_unet, build_unet
from medfm.encoders.published import check_finite, fill
from medfm.encoders.safety import check_state, load_checkpoint
from medfm.encoders.weights import Found, instructions, local_file, locate, places

if TYPE_CHECKING:
    from torch import nn

PartName = Literal["autoencoder", "prior", "denoiser"]
PARTS: tuple[PartName, ...] = ("autoencoder", "prior", "denoiser")
_BUILDERS: dict[PartName, Callable[..., nn.Module]] = {
    "autoencoder": build_autoencoder,
    "prior": build_unet,
    "denoiser": build_shift_unet,
}


def generator_of(card: Card) -> Generator:
    """The ``generator`` block of a card.

    Raises:
        CardError: The card has none: its encoder makes codes only.
    """
    if card.spec.generator is None:
        raise CardError(
            f"The encoder '{card.id}' has no generator: nothing makes records from its codes.",
            where=str(card.path),
            expected="a latent diffusion autoencoder: ldae-brain-mri, ldae-tiny, or the folder of such a training",
        )
    return card.spec.generator


def part_args(card: Card, name: PartName) -> AutoencoderArgs | DenoiserArgs:
    """The validated sizes of one part."""
    sizes = generator_sizes(generator_of(card), str(card.path))
    if name == "autoencoder":
        return sizes.autoencoder
    return sizes.prior if name == "prior" else sizes.denoiser


def build_part(card: Card, name: PartName, seed: int = 0, device: str = "cpu") -> nn.Module:
    """One part, untrained, float32, in training mode; ``device="meta"`` for shapes without memory."""
    return _BUILDERS[name](part_args(card, name), torch.Generator().manual_seed(seed), device)


def load_part(card: Card, name: PartName, state_or_path: Mapping[str, Any] | str | Path) -> tuple[nn.Module, KeyReport]:
    """Fill one part from a checkpoint: a bare state dict, or a Lightning file of any later stage.

    Args:
        card: A card with a generator.
        name: Which part.
        state_or_path: A checkpoint file, or what it holds.

    Returns:
        The network on the CPU, float32, in evaluation mode, and the report on every tensor.

    Raises:
        WeightsError: The file is damaged or unsafe, a tensor is missing, left over, of another
            shape or not finite.
    """
    weights = getattr(generator_of(card), name).weights
    if isinstance(state_or_path, Mapping):
        where, content = "the state dict given", state_or_path
    else:
        where = str(state_or_path)
        content = check_state(load_checkpoint(state_or_path, weights.safe_globals), where)
    module = build_part(card, name, device="meta")
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    tensors, report = match(content, wanted, weights.key_map, where)
    if not report.ok:
        raise WeightsError(
            f"The checkpoint does not fit the {name} of '{card.id}'.\n"
            + "\n".join(f"    {line}" for line in str(report).split("\n")),
            where=where,
            fix=f"the {name} needs another file than the other parts; 'medfm encoders show {card.id}' names them",
        )
    check_finite(tensors, where)
    fill(module, {key: key for key in wanted}, tensors, report.absent)
    return module.eval(), report


def save_part(folder: str | Path, name: PartName, module: nn.Module) -> Part:
    """Write one trained part into the folder of a card, and its entry for the card's ``generator`` block.

    The file is written atomically; :func:`load_part` with a card that holds the entry reads it.
    """
    from safetensors.torch import save as to_bytes

    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in module.state_dict().items()}
    target = make_folder(folder) / f"{name}.safetensors"
    with atomic_path(target) as temporary:
        temporary.write_bytes(to_bytes(state, metadata={"format": "pt", "medfm": name}))
    source = LocalFile(
        filename=target.name, sha256=sha256_file(target), layout="flat, names of this package", trained_here=True
    )
    args = getattr(module, "args", None)
    return Part(
        args=args.to_dict() if args is not None else {},
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        weights=Weights(sources=(source,), key_map=KeyMap(nesting=(FLAT,), prefixes=())),
    )


def find_part(card: Card, name: PartName, weights: str | Path | None = None) -> Found:
    """The checkpoint of one part: the file given, or one of the card's that is on this machine.

    Raises:
        WeightsError: There is none; the message says which file to put where.
    """
    as_encoder = _as_encoder(card, name)
    if weights is not None:
        return local_file(as_encoder, weights)
    try:
        return locate(as_encoder)
    except WeightsError as error:
        raise WeightsError(
            f"The {name} that belongs to '{card.id}': {error.what}",
            where=error.where,
            expected=error.expected,
            fix=f"get the file by hand and put it there; or pass weights={{'{name}': FILE}} for a file you have, or "
            f"{{'{name}': 'random'}} for an untrained network",
        ) from error


def find_head(card: Card) -> LinearHead:
    """The linear head of a card, from the files on this machine.

    Raises:
        CardError: The card names none.
        WeightsError: A file is not here; the message says which to put where.
    """
    sources = generator_of(card).head
    if not sources:
        raise CardError(f"No linear head was published for '{card.id}'.", where=str(card.path))
    found: list[Path] = []
    for source in sources:
        here = next((path for path in places(card, source) if path.is_file()), None)
        if here is None:
            name = source.filename if isinstance(source, LocalFile) else Path(source.filename).name
            raise WeightsError(
                f"The file {name} of the linear head of '{card.id}' is not on this machine.",
                expected=instructions(_with_sources(card, (source,))),
                fix="get the file by hand and put it there, or train a probe of your own",
            )
        found.append(here)
    return load_head(found[0], found[1], found[2], card.embedding_dim)


def _as_encoder(card: Card, name: PartName) -> Card:
    """The card with the weights of a part in place of the encoder's, for finding and checking files."""
    part = getattr(generator_of(card), name)
    return _changed(card, weights=part.weights)


def _with_sources(card: Card, sources: tuple[Any, ...]) -> Card:
    return _changed(card, weights=card.spec.weights.model_copy(update={"sources": sources}))


def _changed(card: Card, **values: Any) -> Card:
    spec = card.spec.model_copy(update=values)
    return Card(card.path, card.header.model_copy(update={"medfm": spec}), card.prose, card.sha256)

"""Writing a trained encoder as a folder that loads like any other: ``card.md`` and the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.config import build
from medfm.core.errors import ConfigError, WeightsError
from medfm.core.files import atomic_path, make_folder
from medfm.core.hashing import sha256_file
from medfm.encoders.card import Card, write_card
from medfm.encoders.card_schema import CardHeader, Generator, LocalFile, TrainingSet
from medfm.encoders.registry import get_card

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS_FILE = "encoder.safetensors"
CARD_FILE = "card.md"
TOKENIZER = "tokenizer"
ENSEMBLE_FILE = "ensemble.json"


def save_encoder(
    folder: str | Path,
    module: nn.Module,
    base: str | Path | Card,
    *,
    encoder_id: str,
    title: str,
    summary: str,
    prose: str,
    training_data: Sequence[TrainingSet] = (),
    deviations: Sequence[str] = (),
    tokenizer: Mapping[str, bytes] | None = None,
    generator: Generator | None = None,
) -> Card:
    """Write `module` into `folder` so that ``medfm.load_encoder(folder)`` gives it back.

    The architecture, input and preprocessing are those of the `base` card; its published
    results and weights are not taken over. All files are written atomically, the card last.

    Args:
        folder: Created if need be; other files in it stay.
        module: The trained network, of the base card's architecture.
        base: Card that the architecture was built from.
        encoder_id: Id of the new encoder, lower-case words with hyphens.
        title: What people call it.
        summary: One sentence.
        prose: Markdown for the card: how it was trained, on what, what it is not for.
        training_data: What it was trained on, for contamination flags.
        deviations: What a reader must know.
        tokenizer: Files (name -> content) that cut texts for the text tower, for the folder
            ``tokenizer``, so that texts need nothing but this folder.
        generator: Networks trained with this encoder that make records from its codes; those of
            the base card know nothing of a newly trained encoder's codes and are left out.

    Raises:
        ConfigError: The module is not of the base card's architecture, or the id is malformed.
        StoreError: The folder cannot be written to.
    """
    from safetensors.torch import save as to_bytes

    from medfm.encoders.published import plain_shapes

    card = base if isinstance(base, Card) else get_card(base)
    state = {key: tensor.contiguous().clone() for key, tensor in _state(module, card).items()}
    if sorted(tuple(t.shape) for t in state.values()) != sorted(plain_shapes(card).values()):
        raise ConfigError("The network is not of the architecture of the card it should be saved with.", where=card.id)
    own = _own(encoder_id, title, summary, training_data, deviations)
    own["generator"] = None if generator is None else generator.to_dict()
    _header(card, own, None)  # a wrong id or text is refused before anything is written
    target = make_folder(folder)
    for name, content in (tokenizer or {}).items():
        make_folder(target / TOKENIZER)
        with atomic_path(target / TOKENIZER / name) as temporary:
            temporary.write_bytes(content)
    with atomic_path(target / WEIGHTS_FILE) as temporary:
        # Not save_file: its files can be read by their owner alone, and a full disk is not an OSError.
        temporary.write_bytes(to_bytes(state, metadata={"format": "pt", "medfm": encoder_id}))
    return write_card(target / CARD_FILE, _header(card, own, sha256_file(target / WEIGHTS_FILE)), prose)


def save_ensemble_card(
    folder: str | Path,
    base: Card,
    count: int,
    *,
    encoder_id: str,
    title: str,
    summary: str,
    prose: str,
    training_data: Sequence[TrainingSet] = (),
    deviations: Sequence[str] = (),
) -> Card:
    """Write the card of `count` networks that predict together and lie in folders of their own under `folder`.

    Args:
        folder: Holds ``ensemble.json`` already.
        base: Card that the networks were built from.
        count: Number of networks.
        encoder_id: Id of the whole.
        title: What people call it.
        summary: One sentence.
        prose: Markdown for the card.
        training_data: What the networks were trained on.
        deviations: What a reader must know.

    Raises:
        ConfigError: The id is malformed.
        StoreError: The folder cannot be written to.
    """
    own = _own(encoder_id, title, summary, training_data, deviations)
    target = Path(folder)
    layout = f"{count} networks of the family {base.spec.architecture.family}, each in a folder with a card of its own"
    source = LocalFile(
        filename=ENSEMBLE_FILE, sha256=sha256_file(target / ENSEMBLE_FILE), layout=layout, trained_here=True
    )
    return write_card(target / CARD_FILE, _header(base, own, None, source), prose)


def _own(
    encoder_id: str, title: str, summary: str, training_data: Sequence[TrainingSet], deviations: Sequence[str]
) -> dict[str, Any]:
    """What the card of something trained here says otherwise than the card it was built from."""
    return {
        "id": encoder_id,
        "title": title,
        "summary": summary,
        "gated": False,
        "licence_note": "Weights trained by the user of this package.",
        "citation": "",
        "training_data": [entry.to_dict() for entry in training_data],
        "results": [],
        "generator": None,
        "deviations": list(deviations),
    }


def refuse_ensemble(card: Card) -> None:
    """Refuse to load several networks as one encoder (raises WeightsError): their embeddings share no space."""
    if not (card.folder / ENSEMBLE_FILE).is_file():
        return
    raise WeightsError(
        f"'{card.id}' is an ensemble: several encoders whose predictions are averaged, with no embedding in common.",
        where=str(card.folder),
        expected="a single encoder",
        fix=f"take one of them ({card.folder / 'members' / '1'}), classify with medfm predict, or make one network of "
        f"them: medfm soup {card.folder / 'members'}/* --table TABLE --out FOLDER",
    )


def _state(module: nn.Module, card: Card) -> dict[str, torch.Tensor]:
    """The tensors of `module` under the family's published names, on the CPU."""
    from medfm.encoders.dinov2 import DinoVisionTransformer, published_state
    from medfm.encoders.published import family_of

    if isinstance(module, DinoVisionTransformer):
        return published_state(module, prefix="")
    state = module.state_dict()
    try:
        names = family_of(card)[0].plain_names(module)
    except (AttributeError, KeyError) as error:
        raise ConfigError("The network is not of the family of its card.", where=card.id) from error
    return {plain: state[key].detach().cpu() for plain, key in names.items()}


def _header(base: Card, own: dict[str, Any], sha256: str | None, source: LocalFile | None = None) -> CardHeader:
    family = "DINOv2" if base.spec.architecture.family == "dinov2" else base.spec.architecture.family
    if source is None:
        source = LocalFile(filename=WEIGHTS_FILE, sha256=sha256, layout=f"flat, {family} names", trained_here=True)
    weights = base.spec.weights.to_dict() | {"sources": [source.to_dict()]}
    values = base.header.to_dict() | {
        "license": "other",
        "license_name": "decided by whoever trained it",
        "license_link": None,
        "datasets": [],
        "model_index": [],
        "medfm": base.spec.to_dict() | own | {"weights": weights},
    }
    return build(CardHeader, values, where=f"the card of '{own['id']}'")

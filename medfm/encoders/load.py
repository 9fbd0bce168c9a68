"""``medfm.load_encoder``: from an id, a card or a folder to an encoder that is ready to run."""

from __future__ import annotations

from pathlib import Path

from medfm.core.errors import WeightsError
from medfm.core.names import nearest
from medfm.encoders.encoder import Encoder, resolve_device
from medfm.encoders.published import build, load_published
from medfm.encoders.registry import get_card
from medfm.encoders.weights import local_file, locate

RANDOM = "random"


def load_encoder(
    name: str | Path,
    weights: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    variant: str | None = None,
) -> Encoder:
    """Load an encoder.

    Args:
        name: An id (``medfm.list_encoders()``), a card file, or a folder with ``card.md`` such as
            ``medfm pretrain`` writes.
        weights: ``None`` for the card's own weights (from this machine, else downloaded unless
            offline), a checkpoint file in any layout the card declares, or ``"random"`` for the
            untrained network, which every output then calls random.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        seed: Seed of random weights; equal seeds give equal fingerprints.
        variant: Other preprocessing that the card names (``preprocessing_variants``), such as
            ``"cpsc2018"`` of MERL.

    Raises:
        UnknownNameError: No such encoder; near ids are named.
        OfflineError: The weights would have to be downloaded and the process is offline.
        WeightsError: The weights are missing, damaged, unsafe or of another model.
    """
    where = resolve_device(device)
    card = get_card(name)
    if not card.spec.weights.needed:
        if weights is not None and str(weights) != RANDOM:
            raise WeightsError(f"'{card.id}' is a fixed formula and takes no weights.", fix="leave weights away")
        return Encoder(
            card,
            build(card, seed),
            "no weights",
            "a fixed formula: there are no weights",
            device=where,
            variant=variant,
        )
    if weights is not None and str(weights) == RANDOM:
        return Encoder(
            card, build(card, seed), "random", f"random: untrained network, seed {seed}", device=where, variant=variant
        )
    if weights is None:
        found = locate(card)
    else:
        if isinstance(weights, str) and not Path(weights).expanduser().exists() and nearest(weights, [RANDOM]):
            raise WeightsError(f"There is no file '{weights}'.", fix=f"did you mean weights='{RANDOM}'?")
        found = local_file(card, weights)
    module, report = load_published(card, found.path)
    return Encoder(card, module, found.kind, found.note, report, device=where, variant=variant)

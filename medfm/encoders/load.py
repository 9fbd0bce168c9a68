"""``medfm.load_encoder``: from an id, a card or a folder to an encoder that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medfm.core.config import build as build_config
from medfm.core.errors import CardError, ConfigError, WeightsError
from medfm.core.names import nearest
from medfm.encoders.beside import check_beside
from medfm.encoders.card import Card
from medfm.encoders.encoder import Encoder, resolve_device
from medfm.encoders.families import check_architecture
from medfm.encoders.published import build, load_published
from medfm.encoders.registry import get_card
from medfm.encoders.save import refuse_ensemble
from medfm.encoders.weights import local_file, locate

RANDOM = "random"


def load_encoder(
    name: str | Path,
    weights: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    variant: str | None = None,
    architecture: Mapping[str, Any] | None = None,
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
        architecture: Architecture arguments other than the card's, such as
            ``{"activation": "quick_gelu"}``; they are part of the fingerprint and of every note.

    Raises:
        UnknownNameError: No such encoder; near ids are named.
        CardError: The architecture arguments contradict the rest of the card.
        OfflineError: The weights would have to be downloaded and the process is offline.
        WeightsError: The weights are missing, damaged, unsafe or of another model.
    """
    where = resolve_device(device)
    card = get_card(name)
    refuse_ensemble(card)
    changed = ""
    if architecture:
        card = with_architecture(card, architecture)
        changed = f"; architecture changed by the user: {dict(architecture)}"
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
            card,
            build(card, seed),
            "random",
            f"random: untrained network, seed {seed}{changed}",
            device=where,
            variant=variant,
        )
    if weights is None:
        found = locate(card)
    else:
        if isinstance(weights, str) and not Path(weights).expanduser().exists() and nearest(weights, [RANDOM]):
            raise WeightsError(f"There is no file '{weights}'.", fix=f"did you mean weights='{RANDOM}'?")
        found = local_file(card, weights)
    if found.path.is_file():  # a missing one has a clearer error further on
        check_beside(card, found.path)
    module, report = load_published(card, found.path)
    # Of a network trained here nothing is assumed: its card lies beside its weights and says what was trained.
    open_facts = () if found.kind == "trained here" else report.assumed
    assumed = f"; assumed, as no checkpoint shows it: {', '.join(open_facts)}" if open_facts else ""
    return Encoder(card, module, found.kind, f"{found.note}{assumed}{changed}", report, device=where, variant=variant)


def with_architecture(card: Card, architecture: Mapping[str, Any]) -> Card:
    """`card` with other architecture arguments; the rest stays, and must agree with them.

    Raises:
        CardError: An argument is unknown or contradicts the rest of the card.
    """
    spec = card.spec.to_dict()
    args = {**spec["architecture"]["args"], **architecture}
    where = f"{card.path}, with architecture arguments {dict(architecture)}"
    try:
        changed = build_config(
            type(card.spec), spec | {"architecture": {**spec["architecture"], "args": args}}, where=where
        )
        check_architecture(changed, where)
    except ConfigError as error:
        raise CardError(
            f"The architecture arguments do not fit the card of '{card.id}'. {error.what}",
            where=error.where or where,
            expected=error.expected,
            fix=error.fix,
        ) from error
    return Card(card.path, card.header.model_copy(update={"medfm": changed}), card.prose, card.sha256)

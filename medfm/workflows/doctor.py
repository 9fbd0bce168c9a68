"""What ``medfm doctor`` looks at: this machine, and for each encoder what is here and what is missing."""

from __future__ import annotations

from pathlib import Path

from medfm.core.config import StrictConfig
from medfm.core.errors import MedfmError
from medfm.core.offline import is_offline
from medfm.encoders.beside import check_beside
from medfm.encoders.card import Card
from medfm.encoders.card_schema import ArchiveFile
from medfm.encoders.registry import get_card, scan
from medfm.encoders.weights import Found, describe, find_local, places, verify
from medfm.workflows.machine import Finding, State, check_machine


class EncoderFinding(StrictConfig):
    """How one encoder stands. ``missing`` and ``sources`` are in words, for people."""

    id: str
    title: str
    modality: str
    licence: str
    licence_note: str
    state: State
    present: str
    missing: str
    sources: tuple[str, ...]
    fix: str = ""


class Diagnosis(StrictConfig):
    """Everything ``medfm doctor`` found out."""

    machine: tuple[Finding, ...]
    encoders: tuple[EncoderFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing has failed (warnings are allowed)."""
        states = [finding.state for finding in self.machine] + [finding.state for finding in self.encoders]
        return "FAIL" not in states


def diagnose(names: tuple[str, ...] = (), *, check_files: bool = False) -> Diagnosis:
    """Look at the machine and at the encoders; opens no network connection.

    Args:
        names: Encoder ids, card files or folders; all known cards when empty.
        check_files: Also read checkpoint files fully: SHA-256 and every tensor name and shape.
    """
    broken: list[MedfmError] = []
    if names:
        cards = [get_card(name) for name in names]
    else:
        found, broken = _scan()
        cards = [found[key] for key in sorted(found)]
    machine = [
        *check_machine(),
        *(Finding(topic="model cards", state="FAIL", text=str(error.what), fix=error.where or "") for error in broken),
    ]
    return Diagnosis(machine=tuple(machine), encoders=tuple(_encoder(card, check_files) for card in cards))


def _scan() -> tuple[dict[str, Card], list[MedfmError]]:
    try:
        return scan()
    except MedfmError as error:
        return {}, [error]


def _encoder(card: Card, check_files: bool) -> EncoderFinding:
    state, present, missing, fix = _state(card, find_local(card), check_files)
    if card.spec.licence_note.startswith("CONFLICT") and state == "PASS":
        state, fix = "WARN", fix or "read the licence note before use"
    return EncoderFinding(
        id=card.id,
        title=card.title,
        modality=card.modality,
        licence=card.licence,
        licence_note=card.spec.licence_note,
        state=state,
        present=present,
        missing=missing,
        sources=tuple(describe(source) for source in card.spec.weights.sources),
        fix=fix,
    )


def _state(card: Card, found: Found | None, check_files: bool) -> tuple[State, str, str, str]:
    if not card.spec.weights.needed:
        return "PASS", "a fixed formula; no weights are needed", "", ""
    if not card.spec.weights.sources:
        return "PASS", "untrained only (weights='random'); nothing was ever published", "", ""
    if found is None:
        source = card.spec.weights.sources[0]
        target = places(card, source)[0]
        by_hand = f"put {Path(source.filename).name} at {target}"
        if isinstance(source, ArchiveFile) or is_offline():
            fix = by_hand
        else:
            fix = f"medfm.load_encoder('{card.id}') downloads it; or {by_hand}"
        return "WARN", "card and architecture", "weights", fix
    try:
        _check_file(card, found, check_files)
    except MedfmError as error:
        return (
            "FAIL",
            "card and architecture",
            f"usable weights: {error.what.splitlines()[0]}",
            f"delete {found.path} and get it again",
        )
    size = found.path.stat().st_size / 1e6
    return "PASS", f"{found.note}, {size:.0f} MB", "", ""


def _check_file(card: Card, found: Found, fully: bool) -> None:
    if found.path.stat().st_size == 0:
        raise MedfmError("the file is empty (0 bytes)")
    check_beside(card, found.path)
    if fully:
        from medfm.encoders.published import load_published

        verify(found)
        load_published(card, found.path)

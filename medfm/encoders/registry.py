"""Finding model cards: shipped ones, the search path, installed packages, and by file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from medfm.core.errors import CardError, MedfmError
from medfm.core.names import unknown_name
from medfm.core.resources import data_folder
from medfm.encoders.card import Card, read_card

ENTRY_POINTS = "medfm.encoders"
_added: list[Path] = []


def add_search_path(path: str | Path) -> None:
    """Also look for cards (``*.md``) in this folder, for the rest of the process.

    Raises:
        CardError: It is not a folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CardError("There is no such folder of model cards.", where=str(folder))
    if folder.resolve() not in _added:
        _added.append(folder.resolve())


def search_folders() -> list[Path]:
    """Folders that are searched, in order: shipped, added, ``MEDFM_CARDS``, entry points."""
    folders = [data_folder("model_cards"), *_added]
    for part in os.environ.get("MEDFM_CARDS", "").split(os.pathsep):
        if part.strip():
            folder = Path(part).expanduser()
            if not folder.is_dir():
                raise CardError(
                    "MEDFM_CARDS names a folder that does not exist.",
                    where=str(folder),
                    fix=f"correct the variable; folders are separated by '{os.pathsep}'",
                )
            folders.append(folder)
    for entry in _entries(tuple(sys.path), metadata.entry_points):
        folders += _from_entry(entry)
    unique: dict[Path, Path] = {}
    for folder in folders:
        unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


@lru_cache(maxsize=4)
def _entries(path: tuple[str, ...], find: Callable[..., metadata.EntryPoints]) -> tuple[metadata.EntryPoint, ...]:
    # Cards are looked up often and reading what every installed package declares takes a tenth of a second;
    # a package that is installed while Python runs is seen once it is on another path, or in the next process.
    return tuple(find(group=ENTRY_POINTS))


def _from_entry(entry: metadata.EntryPoint) -> list[Path]:
    where = f"entry point {entry.name} = {entry.value}"
    try:
        value = entry.load()
        value = value() if callable(value) else value
    except Exception as error:
        raise CardError(f"An installed package's encoders cannot be loaded: {error}.", where=where) from error
    paths = [Path(part) for part in ([value] if isinstance(value, (str, Path)) else value)]
    for path in paths:
        if not path.is_dir():
            raise CardError(
                "An installed package names a folder of cards that does not exist.", where=f"{where}: {path}"
            )
    return paths


@lru_cache(maxsize=256)
def _read_unchanged(path: Path, changed: int, size: int) -> Card:
    # Cards are looked up often and parsing YAML takes milliseconds; an edited file is read anew.
    return read_card(path)


def _read(path: Path) -> Card:
    status = path.stat()
    return _read_unchanged(path, status.st_mtime_ns, status.st_size)


def scan() -> tuple[dict[str, Card], list[MedfmError]]:
    """Every readable card by id, and what is wrong with the others."""
    found: dict[str, Card] = {}
    errors: list[MedfmError] = []
    for folder in search_folders():
        for path in sorted(folder.glob("*.md")):
            if path.name.lower() == "readme.md":
                continue
            try:
                card = _read(path)
            except MedfmError as error:
                errors.append(error)
                continue
            other = found.setdefault(card.id, card)
            if other is not card:
                errors.append(
                    CardError(
                        f"Two model cards claim the id '{card.id}'.",
                        where=f"{other.path} and {card.path}",
                        fix="give one of them another id",
                    )
                )
    return found, errors


def _index() -> dict[str, Card]:
    """Id -> card; raises :class:`CardError` if any card is broken or an id is claimed twice."""
    found, errors = scan()
    if errors:
        raise errors[0]
    return found


def list_encoders(modality: str | None = None) -> list[str]:
    """Ids of the known encoders, sorted; of one `modality` when given."""
    return sorted(card.id for card in list_cards(modality))


def list_cards(modality: str | None = None) -> list[Card]:
    """The known cards, by id; only those that take records of `modality` when given."""
    cards = _index()
    return [cards[key] for key in sorted(cards) if modality is None or modality in cards[key].modalities]


def get_card(name: str | Path) -> Card:
    """The card with this id, of this card file, or of this folder (which holds ``card.md``).

    Raises:
        UnknownNameError: No such id; near ones are named.
        CardError: The card is broken.
    """
    text = str(name)
    path = Path(text).expanduser()
    looks_like_path = isinstance(name, Path) or os.sep in text or text.endswith(".md") or text in (".", "..")
    if looks_like_path or (path / "card.md").is_file():
        return _card_at(path)
    cards = _index()
    if text not in cards:
        if path.is_dir():  # a training that has not finished has no card yet
            return _card_at(path)
        raise unknown_name("encoder", text, cards, where="shipped cards, MEDFM_CARDS and installed packages")
    return cards[text]


def _card_at(path: Path) -> Card:
    if path.is_dir():
        if not (path / "card.md").is_file():
            raise CardError(
                "This folder holds no encoder.",
                where=str(path),
                expected="a folder with card.md, as 'medfm pretrain' writes it",
                fix="a training writes card.md when it ends: let it end, or run the same command again to go on with it",
            )
        return read_card(path / "card.md")
    if not path.exists():
        raise CardError(
            "There is no such file or folder.",
            where=str(path),
            expected="an encoder id, a card file (*.md) or a folder with card.md",
        )
    if path.suffix != ".md":
        raise CardError(
            "This is not a model card.",
            where=str(path),
            expected="an encoder id, a card file (*.md) or a folder with card.md",
            fix="for bare weights name the model too: medfm.load_encoder('dinobloom-b', weights='FILE')",
        )
    return read_card(path)

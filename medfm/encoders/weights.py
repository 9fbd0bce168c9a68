"""Finding the weights of a card: beside the card, in the weights folder, in the hub's cache, or by download.

Nothing is downloaded unless :func:`locate` is called with nothing found on this machine and
the process is not offline; archives are never downloaded, only named.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medfm.core.errors import OfflineError, WeightsError
from medfm.core.hashing import sha256_file
from medfm.core.offline import is_offline
from medfm.encoders.card import Card
from medfm.encoders.card_schema import HubFile, LocalFile, Source

logger = logging.getLogger(__name__)
# File names that many repositories use.
GENERIC_NAMES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
    "open_clip_model.safetensors",
    "encoder.safetensors",
    "model.pth",
    "encoder.pth",
    "decoder.pth",
)
NOT_PUBLISHED = "NOT the published file of that name"
Kind = Literal["published", "local file", "random", "trained here", "no weights"]


@dataclass(frozen=True)
class Found:
    """A checkpoint file that can be read.

    Attributes:
        path: The file.
        kind: What may be said about it.
        note: Where it comes from, in words, for reports.
        source: The card's entry, where it is one.
    """

    path: Path
    kind: Kind
    note: str
    source: Source | None = None


def weights_folder() -> Path:
    """Where checkpoints got by hand are looked for: ``MEDFM_WEIGHTS``, else a folder of the cache."""
    given = os.environ.get("MEDFM_WEIGHTS", "").strip()
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("MEDFM_CACHE", "").strip() or "~/.cache/medfm"
    return Path(cache).expanduser() / "weights"


def places(card: Card, source: Source) -> list[Path]:
    """Where the file of `source` is looked for, apart from the hub's own cache."""
    if isinstance(source, LocalFile):
        return [card.folder / source.filename]
    name = Path(source.filename).name
    return [weights_folder() / card.id / name, *([] if _generic(name) else [weights_folder() / name])]


def _generic(name: str) -> bool:
    # Many repositories use these names; only a folder named after the encoder tells whose it is.
    return name in GENERIC_NAMES


def find_local(card: Card) -> Found | None:
    """The first source that is on this machine, without any network; ``None`` if there is none."""
    for source in card.spec.weights.sources:
        for path in places(card, source):
            if path.is_file():
                return _found(path, source)
        if isinstance(source, HubFile):
            cached = _in_hub_cache(source)
            if cached is not None:
                return _found(cached, source)
    return None


def _found(path: Path, source: Source) -> Found:
    if isinstance(source, LocalFile):
        kind: Kind = "trained here" if source.trained_here else "local file"
        return Found(path, kind, f"{kind}: {source.filename} beside the card", source)
    return Found(path, "published", f"published: {describe(source)}", source)


def describe(source: Source) -> str:
    """One source in words: where, file, revision."""
    if isinstance(source, HubFile):
        revision = source.revision[:12] if source.revision else "not pinned"
        return f"{source.filename} of huggingface.co/{source.repo} (revision {revision})"
    if isinstance(source, LocalFile):
        return f"{source.filename} beside the card"
    return f"{source.filename} of {source.page}"


def _in_hub_cache(source: HubFile) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    hit = try_to_load_from_cache(source.repo, source.filename, revision=source.revision)
    return Path(hit) if isinstance(hit, str) else None


def verify(found: Found) -> None:
    """Check the SHA-256 where the card knows it.

    Raises:
        WeightsError: The file is not the one the card describes.
    """
    expected = found.source.sha256 if found.source is not None else None
    if expected is None:
        return
    actual = sha256_file(found.path)
    if actual != expected:
        raise WeightsError(
            "The checkpoint is not the file that the model card describes: its SHA-256 differs.",
            where=f"{found.path} ({found.path.stat().st_size:,} bytes, sha256 {actual})",
            expected=f"sha256 {expected}",
            fix="it may be half downloaded: delete it and get it again; or pass it as weights=FILE to use it as it is",
        )


def local_file(card: Card, path: str | Path) -> Found:
    """A checkpoint the user names; recognised as published where its SHA-256 is in the card."""
    file = Path(path).expanduser()
    known = {source.sha256: source for source in card.spec.weights.sources if source.sha256}
    if known and file.is_file() and file.stat().st_size:
        digest = sha256_file(file)
        source = known.get(digest)
        if source is not None:
            note = f"published: SHA-256 equals that of {describe(source)}"
            return Found(file, "trained here" if _trained(source) else "published", note, source)
        if any(file.name == Path(entry.filename).name for entry in known.values()):
            logger.warning("%s bears the name of a published file but has another SHA-256 (%s)", file.name, digest)
            return Found(file, "local file", f"local file: {file.name}, {NOT_PUBLISHED}")
    return Found(file, "local file", f"local file: {file.name}")


def _trained(source: Source) -> bool:
    return isinstance(source, LocalFile) and source.trained_here


def locate(card: Card) -> Found:
    """The weights of a card, downloaded from the hub if need be, with their SHA-256 checked.

    Raises:
        OfflineError: They are not here and the process is offline.
        WeightsError: No weights exist, they can only be got by hand, or the download failed.
    """
    found = find_local(card)
    if found is None:
        found = _download(card)
    verify(found)
    return found


def instructions(card: Card) -> str:
    """What to fetch from where and where to put it, one source per line."""
    lines = []
    for source in card.spec.weights.sources:
        digest = f"sha256 {source.sha256}" if source.sha256 else "sha256 not known"
        target = places(card, source)[0]
        lines.append(f"{describe(source)}, {digest}\n              as {target}")
    return "\n            or ".join(lines)


def _download(card: Card) -> Found:
    sources = card.spec.weights.sources
    alternatives = "pass weights='FILE' for a file you have, or weights='random' for an untrained network"
    if not sources:
        raise WeightsError(
            f"No weights were ever published for '{card.id}'.",
            where=str(card.path),
            fix="pass weights='random' for an untrained network, or train one with 'medfm pretrain'",
        )
    hub = [source for source in sources if isinstance(source, HubFile)]
    if not hub:
        raise WeightsError(
            f"The weights of '{card.id}' are not on this machine and cannot be downloaded automatically.",
            expected=instructions(card),
            fix=f"get the file by hand and put it there; or {alternatives}",
        )
    if is_offline():
        raise OfflineError(
            f"The weights of '{card.id}' are not on this machine, and MEDFM_OFFLINE or HF_HUB_OFFLINE forbids downloads.",
            expected=instructions(card),
            fix=f"put the file there (the folder is MEDFM_WEIGHTS); or {alternatives}",
        )
    return _from_hub(card, hub[0])


def _from_hub(card: Card, source: HubFile) -> Found:
    from huggingface_hub import hf_hub_download

    if source.revision is None:
        logger.warning("%s: no revision is pinned for %s; taking 'main'", card.id, source.repo)
    try:
        path = hf_hub_download(source.repo, source.filename, revision=source.revision)
    except Exception as error:  # the hub client raises a dozen unrelated kinds; the cause is kept
        gated = " (the repository asks for an agreement first: log in with 'hf auth login')" if card.spec.gated else ""
        raise WeightsError(
            f"The download of {describe(source)} failed: {(str(error).splitlines() or [type(error).__name__])[0]}{gated}",
            expected=instructions(card),
            fix="try again, or get the file by hand and put it there",
        ) from error
    return _found(Path(path), source)

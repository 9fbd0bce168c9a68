"""What ``medfm doctor`` looks at: this machine, and for each encoder what is here and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from medfm.core.config import StrictConfig
from medfm.core.errors import MedfmError
from medfm.core.offline import is_offline
from medfm.encoders.card import Card
from medfm.encoders.card_schema import ArchiveFile
from medfm.encoders.registry import get_card, scan
from medfm.encoders.weights import Found, describe, find_local, places, verify, weights_folder

State = Literal["PASS", "WARN", "FAIL"]
_EXTRAS = {
    "umap": ("umap", "maps of embeddings by UMAP instead of PCA"),
    "anndata": ("anndata", "export to h5ad"),
    "tensorboard": ("tensorboard", "training curves in TensorBoard"),
}
_NEEDED = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "pyarrow", "sklearn", "PIL", "safetensors")
_LITTLE_DISK = 2 << 30
_LITTLE_MEMORY = 4 << 30


class Finding(StrictConfig):
    """One line of the doctor: what was looked at, how it stands, and what to do."""

    topic: str
    state: State
    text: str
    fix: str = ""


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
        *_machine(),
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
    if fully:
        from medfm.encoders.published import load_published

        verify(found)
        load_published(card, found.path)


def _machine() -> list[Finding]:
    return [_python(), *_packages(), *_torch(), _cores(), _memory(), *_folders(), _offline(), *_extras()]


def _python() -> Finding:
    good = sys.version_info >= (3, 10)
    fix = "" if good else "install Python 3.10 or later"
    return Finding(topic="python", state="PASS" if good else "FAIL", text=platform.python_version(), fix=fix)


def _packages() -> list[Finding]:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return [Finding(topic="packages", state="PASS", text=f"all {len(_NEEDED)} that are needed are installed")]
    return [Finding(topic="packages", state="FAIL", text="missing: " + ", ".join(missing), fix="pip install medfm")]


def _torch() -> list[Finding]:
    if find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        text = f"{metadata.version('torch')}, CPU only"
        return [
            Finding(topic="torch", state="PASS", text=text, fix="small and base sizes run well; large ones want a GPU")
        ]
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return [Finding(topic="torch", state="PASS", text=f"{metadata.version('torch')}, {names}")]


def _cores() -> Finding:
    # The share this process may use, which containers and schedulers cut down.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable > 1:
        return Finding(topic="cores", state="PASS", text=f"{usable} usable")
    return Finding(topic="cores", state="WARN", text="1 usable", fix="decoding and the network will share one core")


def available_memory() -> int | None:
    """Bytes of memory that can be had, or ``None`` where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return None


def _memory() -> Finding:
    amount = available_memory()
    if amount is None:
        return Finding(topic="memory", state="WARN", text="cannot be told on this system")
    text = f"{amount / (1 << 30):.1f} GB available"
    if amount >= _LITTLE_MEMORY:
        return Finding(topic="memory", state="PASS", text=text)
    return Finding(topic="memory", state="WARN", text=text, fix="use a small encoder and a smaller batch size")


def _folders() -> list[Finding]:
    cache = Path(os.environ.get("MEDFM_CACHE", "").strip() or "~/.cache/medfm").expanduser()
    return [_writable("cache folder", cache, "MEDFM_CACHE"), _weights(), _disk(cache)]


def _writable(topic: str, folder: Path, variable: str) -> Finding:
    existing = _existing(folder)
    fix = f"set {variable} to a folder you may write in"
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(topic=topic, state="FAIL", text=f"{folder} cannot be written to ({error.strerror})", fix=fix)
    return Finding(topic=topic, state="PASS", text=f"{folder}" + ("" if folder.exists() else " (will be created)"))


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _weights() -> Finding:
    folder = weights_folder()
    if folder.is_dir():
        return Finding(topic="weights folder", state="PASS", text=str(folder))
    if os.environ.get("MEDFM_WEIGHTS", "").strip():
        return Finding(
            topic="weights folder",
            state="WARN",
            text=f"{folder} (MEDFM_WEIGHTS) does not exist",
            fix="create it or correct the variable",
        )
    return Finding(topic="weights folder", state="PASS", text=f"{folder} (none yet; set MEDFM_WEIGHTS to use another)")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_existing(folder)).free
    text = f"{free / (1 << 30):.0f} GB free for the cache"
    if free >= _LITTLE_DISK:
        return Finding(topic="disk", state="PASS", text=text)
    return Finding(topic="disk", state="WARN", text=text, fix="free some room, or set MEDFM_CACHE to another disk")


def _offline() -> Finding:
    if is_offline():
        text = "offline: any download is an error that says what to put where"
        return Finding(
            topic="network", state="PASS", text=text, fix="unset MEDFM_OFFLINE and HF_HUB_OFFLINE to allow downloads"
        )
    return Finding(
        topic="network", state="PASS", text="downloads allowed when weights are asked for; MEDFM_OFFLINE=1 forbids them"
    )


def _extras() -> list[Finding]:
    rows = []
    for extra, (module, purpose) in _EXTRAS.items():
        here = find_spec(module) is not None
        fix = "" if here else f"optional: pip install 'medfm[{extra}]'"
        rows.append(
            Finding(
                topic=f"extra {extra}", state="PASS", text=purpose if here else f"not installed ({purpose})", fix=fix
            )
        )
    return rows

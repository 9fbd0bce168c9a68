"""What the doctor asks of the machine: Python, packages, cores, memory, disk, folders, switches."""

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
from medfm.core.offline import is_offline
from medfm.encoders.weights import weights_folder

State = Literal["PASS", "WARN", "FAIL"]
_EXTRAS = {
    "umap": ("umap", "maps of embeddings by UMAP instead of PCA"),
    "anndata": ("anndata", "export to h5ad"),
    "tensorboard": ("tensorboard", "training curves in TensorBoard"),
}
_NEEDED = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "sklearn",
    "PIL",
    "safetensors",
    "transformers",
    "open_clip",
)
_LITTLE_DISK = 2 << 30
_LITTLE_MEMORY = 4 << 30


class Finding(StrictConfig):
    """One line of the doctor: what was looked at, how it stands, and what to do."""

    topic: str
    state: State
    text: str
    fix: str = ""


def check_machine() -> list[Finding]:
    """One finding per thing looked at; opens no connection and writes nothing that stays."""
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

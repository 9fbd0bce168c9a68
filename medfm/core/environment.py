"""Facts about software and machine for provenance; no host, user or path names."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

_PACKAGES = ("torch", "timm", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "torchvision")


def package_version(name: str = "medfm") -> str:
    """The installed version of a package, or ``"not installed"``."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        from medfm import __version__

        return __version__ if name == "medfm" else "not installed"


def software() -> dict[str, str]:
    """Versions of Python, medfm and the packages that can change a figure."""
    versions = {"python": platform.python_version(), "medfm": package_version()}
    return versions | {name: package_version(name) for name in _PACKAGES}


def hardware() -> dict[str, Any]:
    """Processor kind, core count and accelerators as torch sees them."""
    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
    }
    if "torch" in sys.modules:
        import torch

        facts["torch_threads"] = torch.get_num_threads()
        facts["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts

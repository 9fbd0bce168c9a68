"""Optional dependencies, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from medfm.core.errors import MissingExtraError


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra of medfm brings it.

    Args:
        module: Importable name, such as ``"umap"``.
        extra: Name of the extra in ``pyproject.toml``.
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the Python package '{module.partition('.')[0]}', which is not installed.",
            fix=f"pip install 'medfm[{extra}]'",
        ) from error

"""Where the shipped YAML files and model cards lie: in the wheel, or beside the source tree."""

from __future__ import annotations

from pathlib import Path

from medfm.core.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent.parent


def data_folder(name: str) -> Path:
    """The folder `name` (``"configs"`` or ``"model_cards"``) of the installed package or checkout.

    Raises:
        ConfigError: The installation is incomplete.
    """
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise ConfigError(
        f"The installation of medfm lacks its folder '{name}'.",
        where=str(_PACKAGE),
        fix="reinstall medfm (pip install --force-reinstall medfm)",
    )

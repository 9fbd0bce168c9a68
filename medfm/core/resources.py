"""Where the shipped YAML files and model cards lie: in the wheel, or beside the source tree."""

from __future__ import annotations

from pathlib import Path

from medfm.core.errors import ConfigError
from medfm.core.names import unknown_name

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


def shipped(folder: str) -> list[str]:
    """Names of the YAML files of ``configs/FOLDER``, without their ending."""
    return sorted(path.stem for path in (data_folder("configs") / folder).glob("*.yaml"))


def shipped_or_own(name: str | Path, folder: str, what: str) -> Path:
    """The file of a name that ``configs/FOLDER`` has, or `name` itself where it ends as a YAML file does.

    Args:
        name: Such as ``"dinov2-tiny"`` or ``"mine.yaml"``, which need not exist.
        folder: Below ``configs``.
        what: What the error calls such a file.

    Raises:
        UnknownNameError: There is no shipped file of that name; near names are given.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    path = data_folder("configs") / folder / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name(what, str(name), shipped(folder))
    return path

"""What a test file may not leave behind for those after it in the same process; used by conftest.py."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

# Libraries set variables of their own when they are loaded; a new one counts if it is of these.
_OURS = ("MEDFM_", "HF_", "PYTHON", "OMP_", "PL_", "MASTER_", "WORLD_SIZE", "RANK", "LOCAL_", "COLUMNS", "NO_COLOR")
_NOT_OURS = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "TOKENIZERS_PARALLELISM", "TORCHINDUCTOR_CACHE_DIR", "KMP_")


def snapshot() -> dict[str, Any]:
    """The state of this process by name; only of libraries that are loaded, so that none is loaded for this."""
    state: dict[str, Any] = {
        "the working folder": _folder(),
        "the path of modules": tuple(sys.path),
        _MODULES: {name: module for name, module in sys.modules.items() if name.split(".", 1)[0] in _WATCHED},
        "os.environ": {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)},
        "what Ctrl-C does": signal.getsignal(signal.SIGINT) if _in_main() else None,
        "what SIGTERM does": signal.getsignal(signal.SIGTERM) if _in_main() else None,
        "sys.excepthook": sys.excepthook,
        "the level of medfm's log": logging.getLogger("medfm").level,
        "the handlers of medfm's log": tuple(logging.getLogger("medfm").handlers),
        "the level of the root log": logging.getLogger().level,
    }
    for library, facts in _LIBRARIES.items():
        if library in sys.modules:
            state |= facts(sys.modules[library])
    return state


def left_behind(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each thing that `after` has otherwise than `before`."""
    lines = []
    for name, value in before.items():
        if name == _MODULES:  # more of them are no change
            changed = [module for module, loaded in value.items() if after[name].get(module) is not loaded]
        elif isinstance(value, Mapping):
            now = after[name]
            changed = [key for key in value if now.get(key, _ABSENT) != value[key]]
            changed += [key for key in now if key not in value and key.startswith(_OURS)]
        elif isinstance(value, tuple) and name.startswith("the path"):
            changed = [str(part) for part in (*set(after[name]) ^ set(value),)] or ["another order"]
            changed = changed if after[name] != value else []
        else:
            changed = [f"{value!r} became {after[name]!r}"[:400]] if after[name] != value else []
        if changed:
            lines.append(f"{name}: " + ", ".join(sorted(changed)[:8]))
    return lines


_MODULES = "modules that were loaded"
_WATCHED = ("medfm", "torch", "numpy", "pandas", "matplotlib", "sklearn", "PIL", "pydicom", "huggingface_hub")
_ABSENT = object()


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a folder that is gone has no Path
    except FileNotFoundError:
        return "(a folder that is gone)"


def _in_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _torch(torch: Any) -> dict[str, Any]:
    if not hasattr(torch, "get_default_dtype"):  # half imported
        return {}
    return {
        "torch's threads": torch.get_num_threads(),
        "torch's default type": torch.get_default_dtype(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's gradients": torch.is_grad_enabled(),
        "cuDNN's choices": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    }


def _matplotlib(matplotlib: Any) -> dict[str, Any]:
    # The backend is chosen at the first use.
    names = [name for name in matplotlib.rcParams if not name.startswith("backend")]
    return {"matplotlib's settings": {name: matplotlib.rcParams._get(name) for name in names}}


_LIBRARIES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "torch": _torch,
    "matplotlib": _matplotlib,
    "numpy": lambda numpy: {"what NumPy does at an overflow": numpy.geterr()},
    "pandas": lambda pandas: {"pandas' width": pandas.options.display.width},
    "medfm.encoders.registry": lambda registry: {"folders of cards": tuple(registry._added)},
}

"""The adapters by id, imported on first use."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from medfm.cohorts.adapters.base import Adapter, Prepared
from medfm.core.names import unknown_name

# id -> "module:object"; a new set adds a line here and a file beside this one.
_ADAPTERS = {
    "acevedo": "medfm.cohorts.adapters.acevedo:ACEVEDO",
    "aml_hehr": "medfm.cohorts.adapters.aml_hehr:AML_HEHR",
    "bccd": "medfm.cohorts.adapters.bccd:BCCD",
    "bmc": "medfm.cohorts.adapters.bmc:BMC",
    "chula_rbc12": "medfm.cohorts.adapters.chula_rbc12:CHULA_RBC12",
    "elsafty": "medfm.cohorts.adapters.elsafty:ELSAFTY",
    "raabin": "medfm.cohorts.adapters.raabin:RAABIN",
}


def list_adapters() -> list[str]:
    """Ids of the public data sets that can be prepared."""
    return sorted(_ADAPTERS)


@cache
def get_adapter(name: str) -> Adapter:
    """The adapter called `name`; raises :class:`UnknownNameError` with near names."""
    if name not in _ADAPTERS:
        raise unknown_name("data set", name, _ADAPTERS)
    module, _, attribute = _ADAPTERS[name].partition(":")
    adapter: Adapter = getattr(importlib.import_module(module), attribute)
    return adapter


def all_aliases() -> list[tuple[str, ...]]:
    """For every adapter all names of its set."""
    return [(a.id, a.title, *a.aliases) for a in map(get_adapter, list_adapters())]


def prepare(name: str, source: str | Path, out: str | Path, *, allow_partial: bool = False) -> Prepared:
    """Prepare the set `name` from the folder `source`; see :meth:`Adapter.prepare`."""
    return get_adapter(name).prepare(source, out, allow_partial=allow_partial)

"""Public data sets: official folder layout in, cohort table out; one file per set."""

from medfm.cohorts.adapters.base import Adapter, Prepared
from medfm.cohorts.adapters.registry import all_aliases, get_adapter, list_adapters, prepare

__all__ = ["Adapter", "Prepared", "all_aliases", "get_adapter", "list_adapters", "prepare"]

"""medfm: medical foundation models from files to a statistically sound, reproducible report.

Everything named here is imported on first use, so that ``import medfm`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# name -> module that holds it; resolved by __getattr__ below (PEP 562).
_PUBLIC = {
    "Cohort": "medfm.cohorts.cohort",
    "Embeddings": "medfm.embeddings.embeddings",
    "Encoder": "medfm.encoders.encoder",
    "MedfmError": "medfm.core.errors",
    "Result": "medfm.reporting.result",
    "brain_age": "medfm.workflows.brain_age",
    "compare": "medfm.workflows.compare",
    "concept_probe": "medfm.workflows.concept_probe",
    "embed": "medfm.workflows.embed",
    "few_shot": "medfm.workflows.few_shot",
    "finetune": "medfm.workflows.finetune",
    "nested_finetune": "medfm.workflows.nested",
    "knn": "medfm.workflows.probe",
    "linear_probe": "medfm.workflows.probe",
    "list_encoders": "medfm.encoders.registry",
    "load_classifier": "medfm.training.tuned",
    "load_cohort": "medfm.cohorts.load",
    "load_encoder": "medfm.encoders.load",
    "load_result": "medfm.reporting.result",
    "mil": "medfm.workflows.probe",
    "predict": "medfm.workflows.predict",
    "pretrain": "medfm.workflows.pretrain",
    "read_record": "medfm.modalities.registry",
    "reconstruct": "medfm.workflows.reconstruct",
    "retrieve": "medfm.workflows.retrieve",
    "reproduce": "medfm.workflows.reproduce",
    "survival": "medfm.workflows.survival",
    "transfer_table": "medfm.workflows.transfer",
    "zero_shot": "medfm.workflows.zero_shot",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'medfm' has no attribute '{name}'")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return __all__

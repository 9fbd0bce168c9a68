"""The parts that every result of embeddings has: statistics, settings, provenance, batch effect, map."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medfm.core.environment import hardware, software
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import Protocol

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.evaluation.evaluate import Evaluation
    from medfm.evaluation.summary import Summary
    from medfm.evaluation.target import Target

MapMethod = Literal["umap", "pca", "none"]

_MOST_MAPPED = 4000


def summarised(
    predictions: Predictions,
    plan: Protocol,
    metrics: Sequence[str],
    *,
    patients_known: bool,
    probabilities: bool = True,
    progress: ProgressMaker | None = None,
) -> Summary:
    """:func:`medfm.evaluation.summarise.summarise` by the protocol's statistics, with a display of the resamples."""
    from medfm.evaluation.summarise import summarise

    with (progress or Silent)("resampling", plan.statistics.resamples, "resamples") as shown:
        return summarise(
            predictions,
            plan.statistics,
            metrics=metrics,
            patients_known=patients_known,
            probabilities=probabilities,
            progress=shown,
        )


def target_settings(columns: str | Sequence[str], truth: Target) -> dict[str, Any]:
    """What was predicted, as a result's settings name it."""
    return {
        "target": columns if isinstance(columns, str) else list(columns),
        "task": truth.task,
        "positive": truth.classes[1] if truth.task == "binary" else None,
    }


def resolved_settings(embeddings: Embeddings, cohort: Cohort, plan: Protocol) -> dict[str, Any]:
    """The rest of what decides the figures, so that a run can be repeated from its config.yaml."""
    about = embeddings.provenance
    return {
        "encoder": {key: about.get(key) for key in ("encoder", "weights_kind", "fingerprint", "precision")},
        "cohort": {"name": cohort.name, "modality": cohort.modality, "digest": cohort.digest()},
        "seeds": {"folds": plan.scheme.seed, "resampling": plan.statistics.seed},
        "protocol": plan.to_dict(),
    }


def provenance_of(embeddings: Embeddings, cohort: Cohort, plan: Protocol) -> dict[str, Any]:
    """Where the figures come from: encoder, cohort, seeds, software, hardware, and the records that failed."""
    return {
        **embeddings.provenance,
        "card": embeddings.provenance.get("encoder"),
        "cohort": cohort.name,
        "cohort_digest": cohort.digest(),
        "cohort_licence": cohort.info.get("licence"),
        "modality": cohort.modality,
        "synthetic": cohort.synthetic,
        "seeds": {"folds": plan.scheme.seed, "resampling": plan.statistics.seed},
        "software": software(),
        "hardware": hardware(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "failures": [{"record_id": f.record_id, "reason": f.reason} for f in embeddings.failures],
    }


def batch_effect_of(embeddings: Embeddings, cohort: Cohort, plan: Protocol) -> Any:
    """How strongly the site shows in the embedding; ``None`` without two sites."""
    from medfm.evaluation.shift import batch_effect

    rows = embeddings.rows(cohort.record_ids)
    table = cohort.table[rows >= 0]
    if table["site"].dropna().nunique() < 2:
        return None
    patients = table["patient_id"].astype(str).to_numpy() if cohort.patients_known else None
    sites = table["site"].to_numpy(dtype=object)
    return batch_effect(embeddings.values[rows[rows >= 0]], sites, patients, plan=plan.statistics)


def map_of(embeddings: Embeddings, cohort: Cohort, done: Evaluation, plan: Protocol, method: MapMethod) -> Any:
    """The tested records in two dimensions (patients for bags, by their mean embedding)."""
    from medfm.reporting.embedding_map import embedding_map

    if method == "none":
        return None
    table = done.predictions.of_variant(MAIN).table
    tested = list(dict.fromkeys(table["record_id"].astype(str)))
    if plan.method.kind == "mil":
        owners = cohort.table["patient_id"].astype(str).to_numpy()
        rows = embeddings.rows(cohort.record_ids)
        values = np.stack([embeddings.values[rows[(owners == p) & (rows >= 0)]].mean(axis=0) for p in tested])
        part = Embeddings(values, tuple(tested))
    else:
        part = Embeddings(embeddings.values[embeddings.rows(tested)], tuple(tested))
    if len(part) > _MOST_MAPPED:
        rows = np.sort(np.random.default_rng(plan.statistics.seed).permutation(len(part))[:_MOST_MAPPED])
        part = Embeddings(part.values[rows], tuple(part.record_ids[i] for i in rows))
    return embedding_map(part, method, seed=plan.statistics.seed) if len(part) >= 2 else None

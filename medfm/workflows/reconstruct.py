"""Volumes drawn from codes on a cohort: scans and networks in, a result with figures and pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import Protocol, protocol_of
from medfm.evaluation.similarity_config import Interpolation, Reconstruction, VolumeDrawing
from medfm.evaluation.similarity_metrics import spec
from medfm.workflows.before_evaluation import seen_in_training
from medfm.workflows.result_parts import provenance_of
from medfm.workflows.table_run import EvaluationRun, refuse_existing

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.reporting.result import Result
    from medfm.workflows.latent_diffusion import LatentDiffusionAutoencoder

DEFAULT = "ldae-reconstruction@1"


def reconstruct(
    system: LatentDiffusionAutoencoder,
    cohort: Cohort,
    protocol: str | Protocol = DEFAULT,
    *,
    overrides: Sequence[str] = (),
    allow: Sequence[str] = (),
    features: Encoder | None = None,
    batch_size: int = 4,
    pictures: bool = True,
    name: str = "",
    progress: ProgressMaker | None = None,
) -> Result:
    """Draw the scans of a cohort from their codes, or visits from those before and after, and compare.

    Args:
        system: From :func:`medfm.workflows.latent_diffusion.load_system`.
        cohort: Brain MRI.
        protocol: Id, YAML file or :class:`Protocol`.
        overrides: ``KEY=VALUE`` settings on top of the protocol.
        allow: Codes of checks that may fail.
        features: Encoder whose features judge the distributions of real and drawn scans; the
            system's own semantic codes when ``None``.
        batch_size: Volumes drawn together; figures do not depend on it.
        pictures: Draw the best, the middle and the worst for the report.
        name: What people call the result.
        progress: Makes the progress displays.

    Raises:
        ChecksFailedError: A check failed whose code is not in `allow`.
        CohortError: There is no column of times (interpolation).
        ConfigError: The protocol is of another method, the cohort of another modality.
        EvaluationError: Nothing can be drawn.
    """
    from medfm.evaluation.similarity_summary import summarise_similarity
    from medfm.reporting.result import Result
    from medfm.workflows.draw_distances import Features
    from medfm.workflows.draw_interpolation import run_interpolation
    from medfm.workflows.draw_reconstruction import run_reconstruction
    from medfm.workflows.drawing_pictures import interpolation_pictures, reconstruction_pictures
    from medfm.workflows.drawing_scans import system_facts

    plan = plan_of(protocol, overrides)
    method, show = plan.method, progress or Silent
    assert isinstance(method, (Reconstruction, Interpolation))
    if batch_size < 1:
        raise ConfigError(f"A batch of {batch_size} volumes cannot be drawn.", expected="1 or more")
    _fits(system, cohort, method)
    about = system_facts(system)
    findings = _findings(cohort, about, plan, allow)
    files: dict[str, bytes] = {}
    shown: list[dict[str, Any]] = []
    if isinstance(method, Reconstruction):
        judge = Features(features or system.encoder) if method.distances else None
        done = run_reconstruction(system, cohort, method, batch_size=batch_size, features=judge, progress=show)
        if judge is not None:
            done.extras["distances"] = judge.distances(plan.statistics, own=features is None)
        over = _over_mean_image(done.predictions, plan, cohort.patients_known)
        done.extras |= {} if over is None else {"over_mean_image": over}
        if pictures:
            files, shown = reconstruction_pictures(system, cohort, method, done)
    else:
        done = run_interpolation(system, cohort, method, batch_size=batch_size, progress=show)
        if pictures:
            files, shown = interpolation_pictures(system, cohort, method, done)
    summary = summarise_similarity(
        done.predictions, plan.statistics, _computed(plan), patients_known=cohort.patients_known, said=done.notes
    )
    stand_in = Embeddings(np.zeros((0, 1), np.float32), (), about, tuple(done.failures))
    return Result(
        kind=method.kind,
        protocol=plan,
        summary=summary,
        predictions=done.predictions,
        provenance=provenance_of(stand_in, cohort, plan),
        findings=findings,
        config={
            "encoder": {key: about[key] for key in ("encoder", "weights_kind", "fingerprint", "precision")},
            "features": None if features is None else {"encoder": features.id, "fingerprint": features.fingerprint},
            "cohort": {"name": cohort.name, "modality": cohort.modality, "digest": cohort.digest()},
            "allow": sorted(allow),
            "seeds": {"drawing": method.seed, "resampling": plan.statistics.seed},
            "protocol": plan.to_dict(),
        },
        extras={**done.extras, "drawn": shown},
        name=name,
        thumbnails=files,
    )


def plan_of(protocol: str | Protocol = DEFAULT, overrides: Sequence[str] = ()) -> Protocol:
    """The protocol of a reconstruction or interpolation.

    Raises:
        UnknownNameError, ConfigError: There is none, it is of another method, or a setting is wrong.
    """
    plan = protocol_of(protocol, overrides)
    if not isinstance(plan.method, VolumeDrawing):
        raise ConfigError(
            f"The protocol '{plan.id}' is of the method '{plan.method.kind}', which draws nothing.",
            expected="ldae-reconstruction@1 or ldae-interpolation@1",
        )
    return plan


def _computed(plan: Protocol) -> list[str]:
    """The protocol's metrics without those of windows that other settings left out."""
    method = plan.method
    assert isinstance(method, VolumeDrawing)
    windows = [f"ssim_w{w}" for w in method.windows[1:]]
    parts = {name: spec(name) for name in plan.metrics}
    return [n for n, p in parts.items() if p is None or "_w" not in p.figure or p.figure in windows]


def _fits(system: LatentDiffusionAutoencoder, cohort: Cohort, method: VolumeDrawing) -> None:
    """Refuse what cannot end well before anything is drawn."""
    if cohort.modality != system.encoder.modality:
        raise ConfigError(
            f"The cohort is of modality '{cohort.modality}', the encoder of '{system.encoder.modality}'.",
            where=cohort.name,
            fix=f"--modality {system.encoder.modality}",
        )
    smallest = min(system.encoder.input_shape[1:])
    large = [w for w in method.windows if w > smallest]
    if large:
        raise ConfigError(
            f"A window of {large[0]} voxels does not fit volumes whose shortest side has {smallest}.",
            where="method.windows",
            fix=f"--set method.windows=[{f'4,{min(7, smallest)}' if smallest > 4 else smallest}]",
        )


def _findings(cohort: Cohort, about: Mapping[str, Any], plan: Protocol, allowed: Sequence[str]) -> Any:
    from medfm.cohorts.checks.run import run_checks
    from medfm.cohorts.findings import allow, stop_on_errors

    seen = seen_in_training(Embeddings(np.zeros((0, 1), np.float32), (), dict(about)))
    findings = run_checks(cohort, target=False, deep=False, training_data=seen, folds=plan.scheme.folds)
    marked = allow(findings, list(allowed))
    stop_on_errors(marked)
    return marked


def _over_mean_image(predictions: Predictions, plan: Protocol, patients_known: bool) -> dict[str, Any] | None:
    """By how much the MSE of drawn scans is lower than that of the mean image, scan by scan, with its interval."""
    from medfm.evaluation.metrics import metric
    from medfm.evaluation.paired import compare_pair, match
    from medfm.workflows.draw_reconstruction import MEAN_IMAGE

    if MEAN_IMAGE not in predictions.variants:
        return None
    pair = match(predictions.of_variant(MAIN), predictions.of_variant(MEAN_IMAGE), patients_known=patients_known)
    (found,) = compare_pair(pair, [metric("mse", "similarity")], plan.statistics)
    return {"metric": "mse", "value": found.difference, "low": found.low, "high": found.high, "method": found.method}


def reconstruct_table(
    table: str | Path,
    *,
    encoder: str,
    weights: Sequence[str | Path] = (),
    features: str | None = None,
    device: str = "auto",
    cohort: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> EvaluationRun:
    """Load networks and cohort, draw, and save the result.

    Args:
        table: The cohort's table.
        encoder: Id, card file, or folder that ``medfm pretrain`` wrote.
        weights: As of :func:`medfm.workflows.drawing_scans.part_weights`.
        features: ``ID``, or ``ID=FILE`` or ``ID=random``: the encoder that judges distributions.
        device: ``"auto"`` or a torch device.
        cohort: Arguments of :func:`medfm.load_cohort`.
        out: Result folder to write.
        overwrite: Replace an earlier result folder.
        settings: As of :func:`reconstruct`.

    Raises:
        StoreError: The result folder exists already, or cannot be written.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.encoders.load import load_encoder
    from medfm.encoders.registry import get_card
    from medfm.workflows.drawing_scans import part_weights, steps_of
    from medfm.workflows.latent_diffusion import load_system

    refuse_existing(out, overwrite)
    plan = plan_of(settings.pop("protocol", DEFAULT), settings.pop("overrides", ()))
    given = part_weights(get_card(encoder), weights)
    records = load_cohort(table, **dict(cohort or {}))
    judge = None
    if features is not None:
        identity, _, file = features.partition("=")
        judge = load_encoder(identity, weights=file or None, device=device)
        steps_of(judge)
    system = load_system(encoder, weights=given, device=device)
    result = reconstruct(system, records, plan, features=judge, **settings)
    folder = None if out is None else result.save(out, overwrite=overwrite)
    return EvaluationRun(result, folder, len(result.provenance["failures"]))

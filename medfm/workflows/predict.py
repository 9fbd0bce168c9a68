"""Classify the records of a cohort with a fine-tuned encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ConfigError, EvaluationError, WeightsError
from medfm.core.files import atomic_path, write_json
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Failure

if TYPE_CHECKING:
    import pandas as pd

    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.conformal import ConformalSets
    from medfm.evaluation.unusual import UnusualGate
    from medfm.training.ensemble import Ensemble, EnsembleGate
    from medfm.training.tuned import TunedClassifier

_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Predicted:
    """What :func:`predict` gives.

    Attributes:
        table: One row per record: ``record_id``, ``predicted`` and ``probability:CLASS``; for several
            labels ``predicted:LABEL`` (0 or 1) and ``probability:LABEL``; for a measurement ``predicted`` alone.
            Where the model has a gate also ``unusual`` (0 or 1) and ``unusual_percentile`` (0 to 100); where it has a
            zero-shot reading also ``zero_shot`` (the class read) and ``zero_shot_agrees`` (0 or 1).
        classifier: What predicted.
        encoder_id: Id of the encoder.
        failures: Records that could not be read, with the reason.
        notes: What a reader must know.
    """

    table: pd.DataFrame
    classifier: TunedClassifier | Ensemble
    encoder_id: str
    failures: tuple[Failure, ...]
    notes: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """How the predictions came about (JSON-like)."""
        labels = self.classifier.labels
        return {
            "encoder": self.encoder_id,
            "target": labels.name,
            "task": labels.task,
            "classes": list(labels.classes),
            "threshold": {"value": self.classifier.threshold, "chosen": self.classifier.rule},
            "models": len(getattr(self.classifier, "members", (None,))),
            "trained": {k: self.classifier.about.get(k) for k in ("recipe", "trained_on", "from_encoder", "synthetic")},
            "records": len(self.table),
            "failures": [{"record_id": f.record_id, "reason": f.reason} for f in self.failures],
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> Path:
        """Write the table (``.csv`` or ``.parquet``) and :meth:`about` beside it as ``NAME.json``.

        Raises:
            ConfigError: Another suffix.
            StoreError: The place cannot be written to.
        """
        target = check_out(path)
        with atomic_path(target) as temporary:
            if target.suffix == ".csv":
                self.table.to_csv(temporary, index=False)
            else:
                self.table.to_parquet(temporary, index=False)
        write_json(target.with_suffix(".json"), self.about())
        return target

    def __str__(self) -> str:
        labels = self.classifier.labels
        lines = [f"{len(self.table)} records, '{labels.name}' by {self.encoder_id}"]
        if labels.task in ("binary", "multiclass"):
            counts = self.table["predicted"].value_counts()
            lines += [f"  {name:<20} {int(counts.get(name, 0))}" for name in labels.classes]
        if labels.task == "multilabel":
            lines += [f"  {name:<20} {int(self.table[f'predicted:{name}'].sum())}" for name in labels.classes]
        if labels.task == "binary":
            lines.append(f"  positive from {self.classifier.threshold:.4f} on: {self.classifier.rule}")
        lines += [f"  note     {note}" for note in self.notes]
        lines += [f"failed: {f.record_id}: {f.reason}" for f in self.failures]
        return "\n".join(lines)


def check_out(path: str | Path) -> Path:
    """The output file; raises :class:`ConfigError` unless its suffix is one of ours."""
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise ConfigError(
            f"Predictions cannot be written as '{target.suffix or target.name}'.",
            where=str(target),
            expected=" or ".join(_SUFFIXES),
        )
    return target


def predict(
    folder: str | Path,
    cohort: Cohort,
    *,
    device: str = "auto",
    sets: float | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    progress: ProgressMaker | None = None,
) -> Predicted:
    """Classify the records of `cohort`; no labels are needed and none are looked at.

    Args:
        folder: Of ``medfm finetune``.
        cohort: The records.
        device: ``"auto"`` or a torch device.
        sets: Also give the set of classes that holds the true one at this rate (conformal, of validation patients).
        embed_settings: Of the embedding run.
        progress: Makes the progress displays.

    Raises:
        WeightsError: There is no classifier, or it belongs to another encoder.
        ConfigError: The encoder is of another modality than the cohort, or no sets can be made.
    """
    from medfm.encoders.registry import get_card
    from medfm.training.ensemble import ensemble_folder, load_ensemble
    from medfm.training.sets_file import load_sets
    from medfm.training.tuned import load_classifier
    from medfm.workflows.glanced import glanced, warnings_of

    whole = None if ensemble_folder(folder) is None else load_ensemble(folder)
    classifiers = whole.members if whole is not None else (load_classifier(folder),)
    single = None if whole is not None else classifiers[0]
    wanted = None
    if sets is not None:
        owner: Any = single if whole is None else whole
        wanted = load_sets(owner.folder, owner.labels.classes, sets)
    found, values, fingerprints = [], [], []
    for one in classifiers:
        encoder = _encoder_of(one, device)
        fingerprints.append(encoder.fingerprint)
        found.append(_embed(encoder, cohort, embed_settings, progress))
        values.append(found[-1].values)
    if any(list(e.record_ids) != list(found[0].record_ids) for e in found):
        raise EvaluationError(
            "A record that one model of the ensemble read could not be read by another.", fix="run it again"
        )
    classifier = classifiers[0] if whole is None else whole
    given: Any = values[0] if whole is None else values  # an ensemble takes those of every member
    notes = ["The classifier was trained on synthetic records."] if classifier.about.get("synthetic") else []
    notes += warnings_of(glanced(cohort, None, found[0]))
    table = _table(classifier, given, list(found[0].record_ids))
    if wanted is not None:
        table = _sets(wanted, classifier, given, table)
    gate = _gate(classifier, fingerprints)
    if gate is not None:
        table["unusual"] = gate.unusual(given).astype(int)
        table["unusual_percentile"] = gate.percentiles(given)
        far = int(table["unusual"].sum())
        notes += [f"{far} of {len(table)} records are unusual: far from what the model was trained on."] if far else []
    if single is not None:
        said, table = _read(single, cohort, table, found[0], encoder, device, dict(embed_settings or {}), progress)
        notes += said
    named = encoder.id if whole is None else get_card(whole.folder or folder).id
    return Predicted(table, classifier, named, tuple(found[0].failures), tuple(notes))


def _encoder_of(classifier: TunedClassifier, device: str) -> Encoder:
    from medfm.encoders.load import load_encoder

    assert classifier.folder is not None
    encoder = load_encoder(classifier.folder, device=device, variant=classifier.about.get("preprocessing_variant"))
    if encoder.fingerprint != classifier.about["encoder_fingerprint"]:
        raise WeightsError(
            "The classifier was trained on another encoder than the one beside it.",
            where=str(classifier.folder),
            fix="copy the whole folder of the fine-tuning run again",
        )
    return encoder


def _sets(wanted: ConformalSets, classifier: Any, values: Any, table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the prediction set of every record."""
    import numpy as np

    kept = wanted(classifier.scores(values))
    names = np.array(classifier.labels.classes, dtype=object)
    return table.assign(set=["|".join(names[row]) for row in kept], set_size=kept.sum(axis=1))


def _read(
    classifier: TunedClassifier,
    cohort: Cohort,
    table: pd.DataFrame,
    found: Embeddings,
    encoder: Encoder,
    device: str,
    settings: dict[str, Any],
    progress: ProgressMaker | None,
) -> tuple[list[str], pd.DataFrame]:
    """`table` with the zero-shot reading where the model has one, and what a reader must know."""
    import numpy as np

    from medfm.encoders.load import load_encoder
    from medfm.training.agreement_file import UNTOUCHED, load_reading
    from medfm.workflows.embed import embed

    assert classifier.folder is not None
    kept = load_reading(classifier.folder, classifier.labels.classes)
    if kept is None:
        return [], table
    reading, about = kept
    if reading.untouched:
        encoder = load_encoder(classifier.folder / UNTOUCHED, device=device, variant=encoder.variant)
    if encoder.fingerprint != about["encoder_fingerprint"]:
        raise WeightsError(
            "The zero-shot reading belongs to another encoder than the one beside it.",
            where=str(classifier.folder),
            fix="copy the whole folder of the fine-tuning run again",
        )
    values = found.values
    if reading.untouched:
        own = embed(encoder, cohort, progress=progress, **settings)
        rows = own.rows(found.record_ids)
        if (rows < 0).any():
            return ["No zero-shot reading: the untouched encoder could not embed every record."], table
        values = own.values[rows]
    names = np.array(classifier.labels.classes, dtype=object)[reading(values)]
    agrees = (names == table["predicted"].to_numpy()).astype(int)
    differ = int((1 - agrees).sum())
    share = 100 * about["held_out"]["share"]
    return [
        f"{differ} of {len(table)} records are read otherwise zero-shot (prompts {reading.strategy}); on held-out records both "
        f"agreed on {share:.1f} %."
    ], table.assign(zero_shot=names, zero_shot_agrees=agrees)


def _embed(
    encoder: Encoder, cohort: Cohort, settings: Mapping[str, Any] | None, progress: ProgressMaker | None
) -> Embeddings:
    from medfm.workflows.embed import embed

    return embed(encoder, cohort, progress=progress, **dict(settings or {}))


def _gate(classifier: Any, fingerprints: list[str]) -> UnusualGate | EnsembleGate | None:
    from medfm.training.ensemble import Ensemble, load_ensemble_gate
    from medfm.training.gate_file import load_gate

    if isinstance(classifier, Ensemble):
        return load_ensemble_gate(classifier, fingerprints)
    return load_gate(classifier.folder, fingerprints[0])


def _table(classifier: TunedClassifier | Ensemble, values: Any, record_ids: list[str]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    labels = classifier.labels
    scores = classifier.scores(values)
    decided = classifier.decide(scores)
    columns: dict[str, Any] = {"record_id": record_ids}
    if labels.task == "regression":
        return pd.DataFrame({**columns, "predicted": decided})
    if labels.task == "multilabel":
        columns |= {f"predicted:{name}": decided[:, i] for i, name in enumerate(labels.classes)}
    else:
        columns["predicted"] = np.array(labels.classes, dtype=object)[decided]
    columns |= {f"probability:{name}": scores[:, i] for i, name in enumerate(labels.classes)}
    return pd.DataFrame(columns)

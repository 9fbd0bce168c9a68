"""``medfm soup``: one model of several fine-tuning runs, judged on validation records where there are any."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from medfm.core.errors import EvaluationError, StoreError, TrainingError
from medfm.core.files import make_folder
from medfm.core.progress import ProgressMaker, Silent
from medfm.evaluation.selection import quality
from medfm.evaluation.target import Target, labelled, make_target
from medfm.evaluation.thresholds import youden
from medfm.evaluation.unusual import fewest, fit_gate
from medfm.training.gate_file import save_gate
from medfm.training.soup import SoupRule
from medfm.training.tuned import ABOUT, HALF
from medfm.workflows.finetune_gate import ALARM_RATE

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.training.finetune_batches import Inputs
    from medfm.training.finetune_labels import Labels
    from medfm.training.record_tensors import RecordTensors
    from medfm.workflows.soup import Ingredient, Soup

Metric = Literal["log_loss", "auroc", "balanced_accuracy", "accuracy"]


@dataclass(frozen=True)
class SoupRun:
    """What :func:`soup_runs` made: the folder, the names of the runs, which are in it, and how good they were."""

    out: Path
    names: tuple[str, ...]
    rule: SoupRule
    soup: Soup
    metric: str
    threshold: float
    chosen_by: str
    gate: bool
    failures: tuple[tuple[str, str], ...] = ()

    def about(self) -> dict[str, Any]:
        """JSON-like."""
        return {
            "out": str(self.out),
            "rule": self.rule,
            "runs": list(self.names),
            "kept": [self.names[i] for i in self.soup.kept],
            "metric": self.metric,
            "alone": list(self.soup.alone),
            "quality": self.soup.quality,
            "steps": [{"run": self.names[s.model], "quality": s.quality, "kept": s.kept} for s in self.soup.steps],
            "measured_batchnorm": self.soup.measured,
            "threshold": {"value": self.threshold, "chosen": self.chosen_by},
            "gate": self.gate,
            "failures": [{"record_id": name, "reason": reason} for name, reason in self.failures],
        }

    def __str__(self) -> str:
        lines = [f"{self.rule} soup of {len(self.soup.kept)} of {len(self.names)} runs"]
        for number, name in enumerate(self.names):
            value = f"  {shown_quality(self.metric, self.soup.alone[number])} alone" if self.soup.alone else ""
            lines.append(f"  {'in ' if number in self.soup.kept else 'out'}  {name}{value}")
        if self.soup.quality is not None:
            said = shown_quality(self.metric, self.soup.quality)
            lines.append(f"  soup {said}, on the validation records that chose: no test")
        if self.soup.measured:
            lines.append(f"  BatchNorm statistics of {self.soup.measured} layers measured anew on training records")
        if self.soup.labels.task == "binary":
            lines.append(f"  positive from {self.threshold:.4f} on: {self.chosen_by}")
        lines.append(f"  gate for unusual records: {'yes' if self.gate else 'no'}")
        lines += [f"failed: {name}: {reason}" for name, reason in self.failures]
        return "\n".join(lines)


def soup_runs(
    folders: Sequence[str | Path],
    out: str | Path,
    rule: SoupRule = "uniform",
    *,
    cohort: Cohort | None = None,
    metric: Metric = "log_loss",
    memory_mb: int = 2048,
    overwrite: bool = False,
    device: str = "auto",
    progress: ProgressMaker | None = None,
) -> SoupRun:
    """Average the weights of fine-tuning runs that started from the same encoder, and write the model.

    Args:
        folders: Of ``medfm finetune``, two or more.
        out: Folder to write; loads as encoder and as classifier.
        rule: ``"uniform"``: all runs; ``"greedy"``: those that help on validation records.
        cohort: Records with the runs' label and a column ``split``: ``val`` chooses runs and threshold, ``train``
            serves BatchNorm statistics and the gate; ``test`` is never looked at.
        metric: Of the greedy choice; R2 for a measurement.
        memory_mb: Preprocessed records are kept in memory up to this size.
        overwrite: Replace an earlier soup in `out`.
        device: ``"auto"`` or a torch device.
        progress: Makes the progress displays.

    Raises:
        TrainingError: The runs do not fit each other, or a greedy soup has no validation records.
        EvaluationError: The cohort's labels are not those of the runs.
        StoreError: The folder is in use.
        WeightsError: A folder holds no classifier.
    """
    from medfm.workflows.soup import check_same_kind, load_ingredients, make_soup, write_soup

    shown: ProgressMaker = progress if progress is not None else Silent
    target = _free(Path(out), overwrite)
    parts = load_ingredients(folders, device)
    check_same_kind(parts)
    labels, encoder = parts[0].classifier.labels, parts[0].encoder
    learning, choosing, truth = None, None, None
    failures: tuple[tuple[str, str], ...] = ()
    if cohort is not None:
        learning, choosing, truth, failures = _records(cohort, labels, encoder, memory_mb, shown)
    if rule == "greedy" and choosing is None:
        raise TrainingError(
            "A greedy soup is chosen on validation records, and there are none.",
            where="column 'split'" if cohort is not None else "",
            expected="records of the split 'val' of patients that no run has learned from",
            fix="--rule uniform" if cohort is not None else "--table TABLE with a column split, or --rule uniform",
        )
    held = truth
    made = make_soup(
        parts,
        rule,
        learning=learning,
        choosing=choosing,
        quality=None if held is None else lambda scores: quality(metric, held, scores),
    )
    threshold, chosen_by = HALF, "0.5 by convention" if labels.task == "binary" else "not used"
    if held is not None and choosing is not None and labels.task == "binary":
        scores = labels.scores(_line(made, encoder, choosing))[:, 1]
        found = youden(scores, held.values == 1)
        if found is not None:
            threshold, chosen_by = found, f"highest sensitivity + specificity on {len(held)} validation records"
    temporary = target.parent / f".{target.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    names = [one.name for one in parts]
    name = cohort.name if cohort is not None else "runs"
    new_id = re.sub(r"[^a-z0-9]+", "-", f"{encoder.id}-{rule}-soup".lower()).strip("-")
    try:
        _, fresh = write_soup(
            make_folder(temporary),
            made,
            parts,
            encoder_id=new_id,
            title=f"{rule.capitalize()} soup of runs from {encoder.id}",
            prose=_prose(new_id, made, parts, rule, metric, threshold, chosen_by, 0 if held is None else len(held)),
            threshold=threshold,
            rule=chosen_by,
            about={
                "recipe": {"name": f"{rule} soup"},
                "trained_on": {"cohort": name, "runs": [_own(parts[i]) for i in made.kept]},
            },
            device=device,
        )
        gate = _gate(temporary, fresh, learning, choosing)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return SoupRun(target, tuple(names), rule, made, metric, threshold, chosen_by, gate, failures)


def shown_quality(metric: str, value: float) -> str:
    """Such as ``log loss 0.5321``: inside, the log loss counts negative, so that higher is better."""
    return f"{metric.replace('_', ' ')} {-value if metric == 'log_loss' else value:.4f}"


def _free(out: Path, overwrite: bool) -> Path:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return out
    ours = (out / ABOUT).is_file() and (out / "card.md").is_file()
    if ours and overwrite:
        return out
    raise StoreError(
        "The output folder is not empty.",
        where=str(out),
        fix="--overwrite replaces it" if ours else "choose another name; it holds no model of medfm",
    )


def _records(
    cohort: Cohort, labels: Labels, encoder: Encoder, memory_mb: int, progress: ProgressMaker
) -> tuple[RecordTensors | None, RecordTensors | None, Target | None, tuple[tuple[str, str], ...]]:
    """Training and validation records, preprocessed, and the truth of the latter; ``None`` where there are none."""
    from medfm.training.record_tensors import load_record_tensors
    from medfm.workflows.embed import check_modality

    check_modality(encoder, cohort)
    columns = list(labels.classes) if labels.task == "multilabel" else labels.name
    split = cohort.table["split"].astype(object).to_numpy()
    cohort = labelled(cohort.subset(np.isin(split, ["train", "val"])), columns)
    if not len(cohort):
        return None, None, None, ()
    positive = labels.classes[1] if labels.task == "binary" else None
    truth = make_target(cohort, columns, labels.task, positive=positive)
    if truth.classes != labels.classes:
        raise EvaluationError(
            f"The classes of the table are not those of the runs: {', '.join(truth.classes)}.",
            where=f"column '{labels.name}'",
            expected=", ".join(labels.classes),
        )
    records = load_record_tensors(cohort, encoder.preprocess, memory_mb, progress)
    rows = np.asarray(records.rows)
    learns = (cohort.table["split"].astype(object).to_numpy() == "train")[rows]
    sides = [records.take(np.flatnonzero(mask).tolist()) if mask.any() else None for mask in (learns, ~learns)]
    held = truth.take(rows[~learns]) if (~learns).any() else None
    return sides[0], sides[1], held, records.failures


def _line(soup: Soup, encoder: Encoder, inputs: Inputs) -> torch.Tensor:
    """float64 logits of these records by the soup."""
    return torch.from_numpy(_vectors(soup.network, encoder, inputs)) @ soup.weight.double().T + soup.bias.double()


@torch.inference_mode()
def _vectors(network: torch.nn.Module, encoder: Encoder, inputs: Inputs) -> np.ndarray:
    from medfm.encoders.published import family_of

    embed, device = family_of(encoder.card)[0].embed, next(network.parameters()).device
    parts = []
    for start in range(0, len(inputs), 64):
        rows = torch.stack([inputs[i] for i in range(start, min(start + 64, len(inputs)))])
        parts.append(embed(network, rows.to(device)).double().cpu())
    return torch.cat(parts).numpy()


def _gate(folder: Path, encoder: Encoder, learning: Inputs | None, choosing: Inputs | None) -> bool:
    if learning is None or choosing is None or len(choosing) < fewest(ALARM_RATE):
        return False
    try:
        train, held = (_vectors(encoder.module, encoder, inputs) for inputs in (learning, choosing))
        save_gate(folder, fit_gate(train, held, ALARM_RATE), encoder.fingerprint)
    except EvaluationError:
        return False
    return True


def _own(one: Ingredient) -> dict[str, Any]:
    return {
        "name": Path(one.name).name,
        "fingerprint": one.encoder.fingerprint,
        "recipe": one.classifier.about.get("recipe"),
    }


def _prose(
    new_id: str,
    soup: Soup,
    parts: Sequence[Ingredient],
    rule: SoupRule,
    metric: str,
    threshold: float,
    chosen_by: str,
    choosing: int,
) -> str:
    from medfm.reporting.words import count

    labels, about = soup.labels, parts[0].classifier.about
    synthetic = any(one.classifier.about.get("synthetic") for one in parts)
    said = "The records are synthetic: nothing here has been shown on a patient.\n\n" if synthetic else ""
    lines = [
        f"- `{Path(one.name).name}` by `{(one.classifier.about.get('recipe') or {}).get('name')}`"
        + (f", {shown_quality(metric, soup.alone[number])} alone" if soup.alone else "")
        + ("" if number in soup.kept else ": left out")
        for number, one in enumerate(parts)
    ]
    together = (
        ""
        if soup.quality is None
        else f"\nThe soup has {shown_quality(metric, soup.quality)} on the {choosing} records that chose it, which is no test.\n"
    )
    cut = f"\n- Threshold: {threshold:.4f} ({chosen_by})." if labels.task == "binary" else ""
    statistics = (
        f"statistics of {soup.measured} layers were measured anew on training records"
        if soup.measured
        else "no statistics differed between the models"
    )
    return f"""# {new_id}

The {rule} average of the weights of {count(len(soup.kept), "model")} fine-tuned from `{about["from_encoder"]["id"]}`.

{said}- Predicts: `{labels.name}` ({", ".join(labels.classes) or "a measurement"}).{cut}
- BatchNorm: {statistics}.

{chr(10).join(lines)}
{together}

It was tested on nobody here. `medfm.load_encoder(FOLDER)` gives the encoder, `medfm predict FOLDER TABLE --out FILE` the
classifier. It was made for research; it is not a medical device.
"""

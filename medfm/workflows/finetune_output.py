"""What a fine-tuning run leaves: the model's folder, the training entry of the report, the result files."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import StoreError, TrainingError
from medfm.core.files import make_folder
from medfm.evaluation.thresholds import youden
from medfm.training.tuned import HALF, TunedClassifier, save_classifier

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.predictions import Predictions
    from medfm.reporting.result import Result
    from medfm.training.finetune import FineTuned
    from medfm.training.finetune_config import FinetuneRecipe
    from medfm.workflows.finetune_data import Prepared

RUN = "run.yaml"  # describes the run, so that it can be repeated
_OWN = ("training", "model")
ADAPTER = "adapter"


def claim_folder(out: str | Path, resume: bool, overwrite: bool) -> Path:
    """The output folder, free for this run.

    Raises:
        TrainingError: It holds a run already, or is used by something else.
        StoreError: It cannot be written to.
    """
    folder = Path(out)
    started = any((folder / "training" / "checkpoint" / n).exists() for n in ("last.ckpt", "previous.ckpt"))
    started = started or (folder / "training" / "plan.json").is_file()  # of a nested cross-validation
    ours = started or (folder / "result.json").is_file()
    if ours and overwrite and not resume:
        (folder / "result.json").unlink(missing_ok=True)  # what is left is no result from now on
        for name in _OWN:
            shutil.rmtree(folder / name, ignore_errors=True)
    elif ours and not resume:
        raise TrainingError(
            "The output folder holds a fine-tuning run already.",
            where=str(folder),
            fix="pass --resume to go on with it, --overwrite to replace it, or choose another folder",
        )
    elif (
        not ours
        and folder.exists()
        and (not folder.is_dir() or any(p.name not in (*_OWN, RUN) for p in folder.iterdir()))
    ):
        raise StoreError(
            "The output folder is not empty and holds no fine-tuning run.", where=str(folder), fix="choose another name"
        )
    return make_folder(folder)


@contextlib.contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Take an empty output folder away again when the block fails: nothing was begun in it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def write_model(
    folder: Path,
    tuned: FineTuned,
    encoder: Encoder,
    recipe: FinetuneRecipe,
    cohort: Cohort,
    data: Prepared,
    device: str = "auto",
    split: str = "train",
    more: str = "",
) -> tuple[TunedClassifier, Encoder]:
    """Write encoder, card and classifier; give both back as they load.

    Args:
        folder: Of the model.
        tuned: From :func:`medfm.training.finetune.fit`.
        encoder: The untouched encoder.
        recipe: How it was trained.
        cohort: On what.
        data: What was used of it.
        device: Of the encoder that is given back.
        split: Which records of the cohort it has seen.
        more: Added to the text of its card.
    """
    from medfm.encoders.card_schema import TrainingSet
    from medfm.encoders.load import load_encoder
    from medfm.encoders.save import save_encoder
    from medfm.training.peft_layout import Adapter, save_adapter
    from medfm.training.tuned import load_classifier

    new_id = re.sub(r"[^a-z0-9]+", "-", f"{encoder.id}-{recipe.name}-{cohort.name}".lower()).strip("-")
    threshold, rule = _threshold(tuned, recipe, data)
    seen = TrainingSet(
        name=re.sub(r"[^a-z0-9_-]+", "-", cohort.name.lower()).strip("-_") or "cohort",
        title=cohort.name,
        status="used",
        split=split,
        note=f"{len(data.train)} records with labels, table sha256 {cohort.digest()}",
    )
    deviations = list(recipe.deviations)
    if encoder.has_text:
        deviations.append("Only the tower of the records was trained: texts no longer lie where its embeddings do.")
    if encoder.variant:
        deviations.append(
            f"Trained on records preprocessed by the variant '{encoder.variant}'; load it with that variant."
        )
    save_encoder(
        folder,
        tuned.model.network,
        encoder.card,
        encoder_id=new_id,
        title=f"{encoder.id}, fine-tuned with {recipe.name} on {cohort.name}",
        summary=f"Fine-tuned here on {len(data.train)} labelled records ('{data.labels.name}').",
        prose=_prose(new_id, tuned, encoder, recipe, cohort, data, threshold, rule, split) + more,
        training_data=[*encoder.card.spec.training_data, seen],
        deviations=deviations,
    )
    if isinstance(tuned.adapter, Adapter):
        save_adapter(folder / ADAPTER, tuned.adapter, tuned.model.network, encoder.id)
    fresh = load_encoder(folder, device=device, variant=encoder.variant)
    weight, bias = tuned.model.head.affine()
    about = {
        "recipe": {"name": recipe.name, "sha256": recipe.digest()},
        "trained_on": {"cohort": cohort.name, "digest": cohort.digest(), "records": len(data.train)},
        "from_encoder": {"id": encoder.id, "fingerprint": encoder.fingerprint, "weights": encoder.weights_note},
        "preprocessing_variant": encoder.variant,
        "kept": tuned.kept,
        "synthetic": cohort.synthetic,
    }
    save_classifier(
        folder, TunedClassifier(data.labels, weight, bias, threshold, rule, about, folder), fresh.fingerprint
    )
    return load_classifier(folder), fresh


def _threshold(tuned: FineTuned, recipe: FinetuneRecipe, data: Prepared) -> tuple[float, str]:
    if data.labels.task != "binary":
        return HALF, "0.5 for each label" if data.labels.task == "multilabel" else "not used"
    if recipe.selection.threshold == "half" or tuned.validation is None or data.validation is None:
        return HALF, "0.5 by convention"
    scores = data.labels.scores(tuned.validation)[:, 1]
    found = youden(scores, data.validation.targets.numpy() == 1)
    if found is None:
        return HALF, "0.5, since the validation records are of one class or have one score"
    return found, f"highest sensitivity + specificity on {len(data.validation)} validation records"


def _prose(
    new_id: str,
    tuned: FineTuned,
    encoder: Encoder,
    recipe: FinetuneRecipe,
    cohort: Cohort,
    data: Prepared,
    threshold: float,
    rule: str,
    split: str,
) -> str:
    classes = ", ".join(data.labels.classes) or "a measurement"
    synthetic = "The records are synthetic: nothing here has been shown on a patient.\n\n" if cohort.synthetic else ""
    chosen = "none" if data.validation is None else f"{len(data.validation)} records of other patients"
    loss = "" if tuned.kept["loss"] is None else f" (validation loss {tuned.kept['loss']:.4f})"
    cut = f"\n- Threshold: {threshold:.4f} ({rule})." if data.labels.task == "binary" else ""
    return f"""# {new_id}

Fine-tuned with `medfm finetune` by the recipe `{recipe.name}` from `{encoder.id}` ({encoder.weights_note}).

{synthetic}- Predicts: `{data.labels.name}` ({classes}).
- Trained on: {len(data.train)} records of the cohort `{cohort.name}`, split `{split}`. Epoch chosen on: {chosen}.
- Kept: epoch {tuned.kept["epoch"]} of the stage `{tuned.kept["stage"]}`{loss}.{cut}
- How good it is on held-out records: `report.html` in the folder above this one.

`medfm.load_encoder(FOLDER)` gives the encoder, `medfm predict FOLDER TABLE --out FILE` the classifier. It was made for
research on this cohort; it is not a medical device, and nobody has tried it on records from elsewhere.
"""


def training_entry(recipe: FinetuneRecipe, classifier: TunedClassifier, tuned: FineTuned) -> dict[str, Any]:
    """What the report shows of the training (JSON-like)."""
    return {
        "recipe": recipe.name,
        "description": recipe.description,
        "source": recipe.source,
        "deviations": list(recipe.deviations),
        "kept": tuned.kept,
        "threshold": {"value": classifier.threshold, "chosen": classifier.rule},
        "rows": [
            {
                key: row.get(key)
                for key in ("step", "stage", "loss", "validation_loss", "rates", "rates_end", "trainable")
            }
            for row in tuned.rows
        ],
    }


def beside_probe(result: Result, predictions: Predictions, protocol: str, encoder: Encoder) -> Result:
    """`result` with the key ``before`` in its training entry: paired differences to the untouched encoder.

    Differences are fine-tuned minus untouched, under the same resampled patients.

    Args:
        result: Of the fine-tuned encoder.
        predictions: Of a probe of the untouched encoder on the same records.
        protocol: Id of the probe's protocol.
        encoder: The untouched encoder.
    """
    from medfm.evaluation.metrics import metrics_for
    from medfm.evaluation.paired import compare_pair, match
    from medfm.evaluation.summarise import summarise
    from medfm.workflows.baseline import ends_of

    known = result.summary.patients_known
    plan = result.protocol.statistics.model_copy(update={"subgroups": ()})
    names = [e.metric for e in result.summary.headline]
    rival = summarise(predictions, plan, metrics=names, patients_known=known)
    pair = match(predictions.of_variant(), result.predictions.of_variant(), patients_known=known)
    rows = []
    for found in compare_pair(pair, metrics_for(names, result.summary.task), plan):
        sides = [ends_of(s.estimate(found.metric, "main")) for s in (rival, result.summary)]
        difference = {"value": found.difference, "low": found.low, "high": found.high}
        rows.append(
            {
                "metric": found.metric,
                "better": found.better,
                "before": sides[0],
                "after": sides[1],
                "difference": difference,
                "p": found.p,
                "method": found.method,
            }
        )
    entry = {"protocol": protocol, "encoder": encoder.id, "level": plan.level, "rows": rows, "common": pair.n_common}
    return replace(result, extras={**result.extras, "finetune": {**result.extras["finetune"], "before": entry}})


def save_into(result: Result, folder: Path) -> None:
    """Write the result's files into `folder`, beside what is there; ``result.json`` last.

    Raises:
        StoreError: The folder cannot be written to.
    """
    temporary = folder / f".result.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        result.save(temporary)
        (folder / "result.json").unlink(missing_ok=True)
        for path in sorted(temporary.iterdir(), key=lambda p: p.name == "result.json"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

"""The cards of final models that come from the outer folds: an ensemble, or a soup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medfm.training.ensemble import MEMBERS, Ensemble
from medfm.workflows.nested_output import figure_lines

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.card_schema import TrainingSet
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.nested import FoldOutcome
    from medfm.evaluation.recalibration import Recalibration
    from medfm.reporting.result import Result
    from medfm.workflows.nested import NestedPlan
    from medfm.workflows.nested_fit import Material
    from medfm.workflows.soup import Soup


def seen_in(cohort: Cohort, records: int) -> TrainingSet:
    """What a final model has learned from, for the flags of later evaluations."""
    from medfm.encoders.card_schema import TrainingSet

    name = re.sub(r"[^a-z0-9_-]+", "-", cohort.name.lower()).strip("-_") or "cohort"
    note = f"{records} records with labels, table sha256 {cohort.digest()}"
    return TrainingSet(name=name, title=cohort.name, status="used", split="all", note=note)


def model_id(*parts: str) -> str:
    """Lower-case words with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _stands(result: Result, outcomes: int) -> str:
    return f"""## What stands for it

This very model was tested on nobody: all patients of the cohort are in it. What stands for it are the pooled
out-of-fold figures of the nested cross-validation around it ({outcomes} outer folds, every patient tested by models that
never saw them), with {100 * result.protocol.statistics.level:g} % intervals over patients:

{figure_lines(result)}

They are those of single models of one fold each; a combination of such models tends to be somewhat better, which is
not measured here.
"""


def ensemble_card(
    result: Result,
    outcomes: Sequence[FoldOutcome],
    material: Material,
    cohort: Cohort,
    model: Path,
    whole: Ensemble,
    choosing: int,
    held: Sequence[Encoder],
) -> None:
    """Write ``card.md`` of an ensemble, whose ``ensemble.json`` and members are there already."""
    from medfm.encoders.save import save_ensemble_card

    new_id = model_id(material.encoder.id, "ensemble", cohort.name)
    labels = whole.labels
    synthetic = "The records are synthetic: nothing here has been shown on a patient.\n\n" if cohort.synthetic else ""
    cut = f"\n- Threshold: {whole.threshold:.4f} ({whole.rule})." if labels.task == "binary" else ""
    gate = "the mean over models of an embedding distance" if len(whole.known) else "none, too few validation records"
    members = "\n".join(
        f"- `{MEMBERS}/{n}`: outer fold {o.outer.fold + 1}, repeat {o.outer.repeat + 1}, `{o.chosen['candidate']}`, "
        f"{len(o.outer.inner[0][0])} records"
        for n, o in enumerate(outcomes, 1)
    )
    what = "values" if labels.task == "regression" else f"recalibrated {whole.average}"
    prose = f"""# {new_id}

The models of the outer folds of a nested cross-validation, fine-tuned from `{material.encoder.id}`
({material.encoder.weights_note}); their {what} are averaged.

{synthetic}- Predicts: `{labels.name}` ({", ".join(labels.classes) or "a measurement"}).
- Trained on: the cohort `{cohort.name}`; {choosing} records of the same validation patients chose epochs, recipes, recalibration
  and the threshold in every fold, and no model has learned from them.{cut}
- Gate for unusual records: {gate}.

{members}

`medfm predict FOLDER TABLE --out FILE` classifies. The whole is not an encoder: embeddings of different networks share
no space. Each member is one (`medfm.load_encoder(FOLDER/{MEMBERS}/1)`). It was made for research on this cohort; it is
not a medical device, and nobody has tried it on records from elsewhere.

{_stands(result, len(outcomes))}"""
    training_data = [*material.encoder.card.spec.training_data, seen_in(cohort, len(material.truth) - choosing)]
    deviations = list(dict.fromkeys(line for one in held for line in one.card.spec.deviations))
    save_ensemble_card(
        model,
        material.encoder.card,
        len(outcomes),
        encoder_id=new_id,
        title=f"{material.encoder.id}, ensemble of fold models on {cohort.name}",
        summary=f"{len(outcomes)} networks fine-tuned here on '{labels.name}', predictions averaged.",
        prose=prose,
        training_data=training_data,
        deviations=deviations,
    )


def soup_prose(
    result: Result,
    soup: Soup,
    material: Material,
    cohort: Cohort,
    plan: NestedPlan,
    mend: Recalibration,
    threshold: float,
    rule: str,
    learning: int,
    choosing: int,
) -> str:
    """The text of the card of a soup."""
    new_id = model_id(material.encoder.id, f"{plan.method.soup}-soup", cohort.name)
    labels = soup.labels
    synthetic = "The records are synthetic: nothing here has been shown on a patient.\n\n" if cohort.synthetic else ""
    cut = f"\n- Threshold: {threshold:.4f} ({rule})." if labels.task == "binary" else ""
    scaled = "" if mend.rule == "none" else f"\n- Probabilities are recalibrated ({mend.rule}, slope {mend.slope:.3f})."
    folds = ", ".join(str(i + 1) for i in soup.kept)
    statistics = (
        f"statistics of {soup.measured} layers were measured anew on the training records"
        if soup.measured
        else "statistics are those of the models, which were all the same"
    )
    chosen = "all of them" if plan.method.soup == "uniform" else "chosen greedily on validation patients"
    return f"""# {new_id}

The average of the weights of models of a nested cross-validation (of outer fold {folds} of {len(soup.alone)}; {chosen}), fine-tuned
from `{material.encoder.id}` ({material.encoder.weights_note}).

{synthetic}- Predicts: `{labels.name}` ({", ".join(labels.classes) or "a measurement"}).
- Trained on: {learning} records of the cohort `{cohort.name}`. Chosen on: {choosing} records of validation patients that no model
  has learned from.{cut}{scaled}
- BatchNorm: {statistics}.

`medfm.load_encoder(FOLDER)` gives the encoder, `medfm predict FOLDER TABLE --out FILE` the classifier. It was made for
research on this cohort; it is not a medical device, and nobody has tried it on records from elsewhere.

{_stands(result, len(soup.alone))}"""

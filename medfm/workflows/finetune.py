"""Fine-tune an encoder on a cohort: train on 'train', choose on validation patients, test once on 'test'."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medfm.core.config import build, load_config, merge, parse_overrides
from medfm.core.errors import ConfigError
from medfm.core.files import make_folder, write_text
from medfm.core.names import unknown_name
from medfm.core.progress import ProgressMaker, Silent
from medfm.core.resources import data_folder
from medfm.evaluation.predictions import TaskKind
from medfm.evaluation.protocol import Protocol
from medfm.evaluation.protocol_finetune import FineTune
from medfm.evaluation.target import Target, labelled, make_target
from medfm.workflows.before_evaluation import check_cohort, target_names
from medfm.workflows.finetune_verdict import NESTED, SPLIT, check_settings, choose_verdict
from medfm.workflows.result_parts import batch_effect_of, map_of, provenance_of, resolved_settings
from medfm.workflows.table_run import EvaluationRun

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.embeddings.embeddings import Embeddings
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.evaluate import Evaluation
    from medfm.reporting.result import Result
    from medfm.training.finetune import FineTuned
    from medfm.training.finetune_config import FinetuneRecipe
    from medfm.workflows.finetune_data import Prepared

logger = logging.getLogger(__name__)
# Writes what describes a run into its folder.
Describe = Callable[[Path], None]
TRAINING, MODEL = "training", "model"


def finetune_recipes() -> list[str]:
    """Names of the shipped fine-tuning recipes."""
    return sorted(path.stem for path in (data_folder("configs") / "finetune").glob("*.yaml"))


def load_finetune_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> FinetuneRecipe:
    """A shipped recipe by name, or a YAML file, with ``KEY=VALUE`` overrides on top.

    ``stages.NAME.KEY=VALUE`` changes a setting of the stage of that name.

    Raises:
        UnknownNameError: No such recipe; near names are given.
        ConfigError: A setting is wrong.
    """
    from medfm.training.finetune_config import FinetuneRecipe

    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        path = data_folder("configs") / "finetune" / f"{recipe}.yaml"
        if not path.is_file():
            raise unknown_name("fine-tuning recipe", str(recipe), finetune_recipes())
    found = load_config(FinetuneRecipe, path)
    return changed(found, overrides, str(path)) if overrides else found


def changed(recipe: FinetuneRecipe, overrides: Sequence[str], where: str = "the recipe") -> FinetuneRecipe:
    """`recipe` with ``KEY=VALUE`` overrides; stages are named, not numbered."""
    over, values = parse_overrides(overrides), recipe.to_dict()
    stages = over.pop("stages", {})
    if not isinstance(stages, Mapping):
        values["stages"] = stages
        stages = {}
    names = [stage["name"] for stage in values["stages"]] if stages else []
    for name, change in stages.items():
        if name not in names:
            raise unknown_name("stage", str(name), names, where="--set stages.NAME.KEY=VALUE")
        place = names.index(name)
        values["stages"][place] = merge(_of_kind(values["stages"][place], change), change)
    return build(type(recipe), merge(values, over), where=where)


def _of_kind(stage: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """`stage` without the settings of layers, schedule or mixing where `change` asks for another kind of them."""
    asked = change if isinstance(change, Mapping) else {}

    def other(key: str) -> bool:
        one, two = stage[key], asked.get(key)
        if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
            return False
        return bool(two.get("kind", one.get("kind")) != one.get("kind"))

    return {key: {} if other(key) else value for key, value in stage.items()}


@dataclass(frozen=True)
class FinetuneRun(EvaluationRun):
    """What ``medfm finetune`` did: the result, its folder (the model in ``model``), and the records that were lost.

    ``result.kind`` is ``"nested_finetune"`` after a nested cross-validation, else ``"finetune"``.
    """

    out: Path


def finetune(
    encoder: Encoder | str | Path,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    recipe: str | Path | FinetuneRecipe | None = None,
    out: str | Path = "finetuned",
    *,
    protocol: str | Protocol | None = None,
    beside: Encoder | str | Path | Sequence[Encoder | str | Path] | None = None,
    task: Literal["auto"] | TaskKind = "auto",
    positive: str | None = None,
    allow: Sequence[str] = (),
    drop_unlabelled: bool = False,
    overrides: Sequence[str] = (),
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    name: str = "",
    embed_settings: Mapping[str, Any] | None = None,
    progress: ProgressMaker | None = None,
    label_set: str | None = None,
    map_class: Mapping[str, str] | None = None,
    describe: Describe | None = None,
) -> FinetuneRun:
    """Adapt an encoder to a label of a cohort and test it on held-out records.

    With neither `recipe` nor `protocol` the verdict is a nested cross-validation (``nested-cv@1``), which
    :func:`medfm.nested_finetune` runs: recipe and all else are chosen inside outer folds. With a `recipe` that
    recipe is trained once on the cohort's column ``split`` (``finetune@1``). Both give a :class:`FinetuneRun`.

    `out` becomes a result folder; in it lie ``model`` (for :func:`medfm.load_encoder` and
    :func:`medfm.load_classifier`) and ``training`` (log, checkpoints, recipe).

    Args:
        encoder: An encoder, its id, or a folder; it is not changed.
        cohort: Records with labels and patients; for one training also a column ``split`` with train and test.
        target: Label column, or a list of 0/1 columns; the cohort's own when ``None``.
        recipe: Name of a shipped recipe, a YAML file, or the recipe itself.
        out: The folder to write.
        protocol: How it is evaluated.
        beside: For a nested cross-validation: other encoders that are probed on its folds.
        task: Kind of task.
        positive: Positive class of a binary task.
        allow: Codes of checks that may fail; they are stamped on the result.
        drop_unlabelled: Leave out records without a label.
        overrides: ``KEY=VALUE`` changes of the recipe; of the protocol in a nested cross-validation.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        resume: Go on from the checkpoint in `out`.
        overwrite: Replace an earlier run in `out`.
        name: What people call the result.
        embed_settings: Of the embedding runs (see ``medfm.workflows.embed.EmbedConfig``).
        progress: Makes the progress displays.
        label_set: Label set of the knowledge that the classes are named by, for the zero-shot reading.
        map_class: Class -> class of the knowledge, for the zero-shot reading.
        describe: Writes what describes the run into the folder once it is this run's.

    Raises:
        ChecksFailedError: A check failed whose code is not in `allow`.
        ConfigError: The recipe does not fit the encoder, the records or the protocol.
        EvaluationError: The data do not allow it.
        TrainingError: A folder in use, a checkpoint of another run, a loss that is not finite.
        KeyboardInterrupt: After Ctrl-C; the epochs done are saved, and `resume` goes on.
    """
    from medfm.encoders.load import load_encoder
    from medfm.training.finetune import fit
    from medfm.training.finetune_views import steps_for
    from medfm.training.threads import processor_threads
    from medfm.workflows.embed import check_modality, embed
    from medfm.workflows.finetune_agreement import add_reading
    from medfm.workflows.finetune_data import prepare, split_parts
    from medfm.workflows.finetune_gate import add_gate
    from medfm.workflows.finetune_names import check_names, with_names
    from medfm.workflows.finetune_output import claim_folder, nothing_left, save_into, write_model
    from medfm.workflows.finetune_sets import add_sets
    from medfm.workflows.participants import with_participants

    plan, recipe = choose_verdict(recipe, protocol)
    if recipe is None:
        from medfm.workflows.nested import nested_finetune

        return nested_finetune(
            encoder,
            cohort,
            target,
            plan,
            out,
            beside=beside,
            task=task,
            positive=positive,
            allow=allow,
            drop_unlabelled=drop_unlabelled,
            overrides=overrides,
            device=device,
            resume=resume,
            overwrite=overwrite,
            name=name,
            embed_settings=embed_settings,
            progress=progress,
            label_set=label_set,
            map_class=map_class,
            describe=describe,
        )
    plan = _plan(plan)
    if beside is not None and beside != ():
        raise ConfigError(
            "Other encoders are compared in a nested cross-validation only.",
            where="beside",
            fix=f"leave the recipe away, or name the protocol {NESTED}",
        )
    check_settings(overrides, plan)
    config = load_finetune_recipe(recipe, overrides) if isinstance(recipe, (str, Path)) else changed(recipe, overrides)
    if device != "auto":
        config = changed(config, [f"machine.accelerator={'cpu' if device == 'cpu' else 'cuda'}"])
    shown: ProgressMaker = progress if progress is not None else Silent
    columns, asked = target_names(cohort, target), cohort
    notes = []
    if drop_unlabelled:
        kept = labelled(cohort, columns)
        notes += [f"{len(cohort) - len(kept)} records without a label are left out."] if len(kept) < len(cohort) else []
        cohort = kept
    cohort = with_names(cohort, label_set, map_class)
    truth = make_target(cohort, columns, task, positive=positive)
    check_names(cohort, truth, asked=label_set is not None or bool(map_class))
    split_parts(cohort, truth, config)  # what is wrong with the table comes out before the work
    loaded = load_encoder(encoder, device=device) if isinstance(encoder, (str, Path)) else encoder
    check_modality(loaded, cohort)
    made = loaded.preprocess
    steps_for(config.augmentation, cohort.modality, tuple(made.shape), made.steps)  # as is a step that does not fit
    folder = claim_folder(out, resume, overwrite)
    settings = dict(embed_settings or {})
    with nothing_left(folder):
        before = embed(loaded, cohort, progress=shown, **settings)
        findings = check_cohort(cohort, columns, truth.task, plan, before, allow)
    cohort = cohort.subset(before.rows(cohort.record_ids) >= 0)
    truth = make_target(cohort, columns, truth.task, positive=positive)
    parts = split_parts(cohort, truth, config)
    data = prepare(loaded, cohort, truth, parts, config, shown, before)
    identity = _identity(loaded, cohort, columns, config, data)
    make_folder(folder / TRAINING)
    write_text(folder / TRAINING / "recipe.yaml", config.to_yaml())
    if describe is not None and not resume:
        describe(folder)
    with processor_threads(config.machine.threads):
        tuned = fit(
            loaded,
            config,
            data.train,
            data.validation,
            data.labels,
            modality=cohort.modality,
            folder=folder / TRAINING,
            identity=identity,
            resume=resume,
            progress=shown,
        )
    if describe is not None:
        describe(folder)  # a resumed run is known to be the same only now
    classifier, fresh = write_model(folder / MODEL, tuned, loaded, config, cohort, data, device=device)
    tested = cohort.subset(parts.test)
    after = embed(fresh, tested, progress=shown, **settings)
    notes += [*parts.notes, *_mirror_note(config, cohort), *_adapter_note(tuned)]
    notes.append(add_gate(folder / MODEL, fresh, cohort, parts, after, settings, shown))
    both = (before, after)
    read = add_reading(folder / MODEL, loaded, fresh, classifier, tested, truth.take(parts.test), both, settings, shown)
    sets = add_sets(
        folder / MODEL, fresh, classifier, cohort, truth, parts.validation, parts.test, after, settings, shown
    )
    notes += [said for said in (read, sets) if said]
    done = _evaluation(
        classifier.scores(after.values),
        classifier.decide,
        after,
        tested,
        truth.take(parts.test),
        data,
        tuned,
        plan.statistics.subgroup_columns,
    )
    result = _result(done, after, cohort, columns, truth, plan, config, findings, classifier, tuned, notes, shown)
    result = replace(
        result, config={**result.config, "drop_unlabelled": drop_unlabelled, "allow": sorted(allow)}, name=name
    )
    # Of the tested records all could be read; what is missing was missing before.
    gone = [{"record_id": failure.record_id, "reason": failure.reason} for failure in before.failures]
    result = replace(result, provenance={**result.provenance, "failures": gone})
    result = _with_probe(result, before, cohort, columns, plan, loaded, shown)
    rows = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    save_into(with_participants(result, asked, cohort, truth, rows), folder)
    return FinetuneRun(result, folder, len(before.failures) + len(after.failures) + len(data.failures))


def _plan(plan: Protocol) -> Protocol:
    if not isinstance(plan.method, FineTune):
        raise ConfigError(
            f"The protocol '{plan.id}' is of the method '{plan.method.kind}', not 'finetune'.",
            expected=f"{SPLIT} or {NESTED}",
        )
    return plan


def _identity(
    encoder: Encoder, cohort: Cohort, columns: str | list[str], recipe: FinetuneRecipe, data: Prepared
) -> dict[str, Any]:
    return {
        "recipe": recipe.procedure(),
        "cohort": cohort.digest(),
        "target": columns if isinstance(columns, str) else "+".join(columns),
        "encoder": encoder.fingerprint,
        "records": len(data.train),
        "validation": 0 if data.validation is None else len(data.validation),
        "content": data.content,
    }


def _mirror_note(recipe: FinetuneRecipe, cohort: Cohort) -> list[str]:
    from medfm.training.finetune_views import SOUND, mirrored

    choice = recipe.augmentation
    steps = () if choice == "none" else SOUND.get(cohort.modality, ()) if choice == "auto" else tuple(choice)
    if not mirrored(steps, cohort.modality):
        return []
    return ["The recipe asks for left-right flips, although left and right mean something in these records."]


def _adapter_note(tuned: FineTuned) -> list[str]:
    if tuned.adapter is None:
        return []
    if isinstance(tuned.adapter, str):
        return [f"The updates of low rank are in the model's weights alone, without a copy for PEFT: {tuned.adapter}."]
    return ["The updates of low rank lie in model/adapter too, in the layout of PEFT, for the untouched encoder."]


def _evaluation(
    scores: np.ndarray,
    decide: Any,
    embeddings: Embeddings,
    tested: Cohort,
    truth: Target,
    data: Prepared,
    tuned: FineTuned,
    also: Sequence[str] = (),
) -> Evaluation:
    """The tested records' predictions in the form that every evaluation has."""
    from medfm.evaluation.evaluate import CARRIED, Evaluation, truth_columns
    from medfm.evaluation.predictions import MAIN, Predictions

    rows = embeddings.rows(tested.record_ids)
    known = truth.take(np.flatnonzero(rows >= 0))
    table = tested.table[rows >= 0].reset_index(drop=True)
    values = scores[rows[rows >= 0]]
    carried = [c for c in dict.fromkeys((*CARRIED, *also)) if c in table.columns and c not in ("patient_id", "site")]
    frame = table[["record_id", "patient_id", "site", *carried]].assign(variant=MAIN, repeat=0, fold=0)
    frame = frame.assign(**truth_columns(known, values))
    if known.task in ("binary", "multiclass"):
        frame = frame.assign(predicted=known.names(decide(values)))
    counts = {
        "train": len(data.train),
        "validation": 0 if data.validation is None else len(data.validation),
        "test": len(frame),
    }
    chosen = {"variant": MAIN, "repeat": 0, "fold": 0, **counts, **{f"kept_{k}": v for k, v in tuned.kept.items()}}
    return Evaluation(Predictions(frame, known.task, known.classes, known.name), (chosen,), ())


def _result(
    done: Evaluation,
    embeddings: Embeddings,
    cohort: Cohort,
    columns: str | list[str],
    truth: Target,
    plan: Protocol,
    recipe: FinetuneRecipe,
    findings: Any,
    classifier: Any,
    tuned: FineTuned,
    notes: list[str],
    progress: ProgressMaker,
) -> Result:
    from medfm.evaluation.grades import headline_with_kappa, order_notes
    from medfm.evaluation.summarise import summarise
    from medfm.reporting.result import Result
    from medfm.workflows.finetune_output import training_entry

    with progress("resampling", plan.statistics.resamples, "resamples") as resampling:
        summary = summarise(
            done.predictions,
            plan.statistics,
            metrics=headline_with_kappa(plan.metrics, truth),
            patients_known=cohort.patients_known,
            progress=resampling,
        )
    said = (*summary.notes, *order_notes(truth, plan.metrics), *notes)
    return Result(
        kind="finetune",
        protocol=plan,
        summary=summary.model_copy(update={"notes": said}),
        predictions=done.predictions,
        provenance=provenance_of(embeddings, cohort, plan) | {"seeds": {"training": recipe.seed, **_seeds(plan)}},
        findings=findings,
        config={
            "target": columns if isinstance(columns, str) else list(columns),
            "task": truth.task,
            "positive": truth.classes[1] if truth.task == "binary" else None,
            "recipe": recipe.to_dict(),
            **resolved_settings(embeddings, cohort, plan),
        },
        batch_effect=batch_effect_of(embeddings, cohort, plan),
        embedding_map=map_of(embeddings, cohort, done, plan, "pca"),
        extras={"chosen": list(done.chosen), "finetune": training_entry(recipe, classifier, tuned)},
    )


def _seeds(plan: Protocol) -> dict[str, int]:
    return {"resampling": plan.statistics.seed}


def _with_probe(
    result: Result,
    before: Embeddings,
    cohort: Cohort,
    columns: str | list[str],
    plan: Protocol,
    encoder: Encoder,
    progress: ProgressMaker,
) -> Result:
    """`result` compared with a probe of the untouched encoder on the same split and records."""
    from medfm.evaluation.evaluate import evaluate
    from medfm.evaluation.protocol import load_protocol
    from medfm.workflows.finetune_output import beside_probe

    assert isinstance(plan.method, FineTune)
    if not plan.method.beside:
        return result
    rival = load_protocol(plan.method.beside, overrides=("scheme.kind=split",))
    done = evaluate(
        before,
        cohort,
        columns,
        rival,
        task=result.config["task"],
        positive=result.config["positive"],
        progress=progress,
    )
    return beside_probe(result, done.predictions, rival.id, encoder)

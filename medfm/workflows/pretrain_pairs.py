"""Training on pairs of records and reports: cohort and recipe in, a folder that ``load_encoder`` reads out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, ConfigError, TrainingError
from medfm.core.files import make_folder, write_text
from medfm.core.hashing import sha256_bytes
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.card import Card
from medfm.encoders.encoder import preprocessing_steps
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.published import build as build_network
from medfm.encoders.registry import get_card
from medfm.encoders.save import TOKENIZER
from medfm.encoders.tokens import FILES, TextTokenizer
from medfm.encoders.tokens_bpe import ClipTokenizer
from medfm.modalities.registry import get_modality
from medfm.training.curves_picture import draw_curves
from medfm.training.log import read_log
from medfm.training.loop import make_fabric
from medfm.training.pair_families import pair_model
from medfm.training.pair_model import PairModel
from medfm.training.pair_texts import TextChoices, text_choices, usable
from medfm.training.pair_views import PairView
from medfm.training.paired_loop import Judge, train_pairs
from medfm.training.paired_validation import ZeroShotJudge, validation_losses, zero_shot_judge
from medfm.training.pairs import Pairs, different
from medfm.training.pairs_config import Validation
from medfm.training.recipes import PairRecipe
from medfm.training.record_tensors import RecordTensors, load_record_tensors
from medfm.training.text_ids import tokenise
from medfm.training.text_start import find_bert, start_text
from medfm.training.text_windows import text_windows
from medfm.training.tower_start import bert_tower, start_network
from medfm.training.towers_config import FlairText, TowersRecipe
from medfm.training.vocabulary import build_vocabulary
from medfm.workflows.pretrain import Pretrained, trained_id
from medfm.workflows.pretrain_pairs_output import write_pair_encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """Training and validation records of a run: rows of the cohort."""

    train: list[int]
    validation: list[int]


def pretrain_pairs(
    cohort: Cohort, config: PairRecipe, folder: Path, *, resume: bool, progress: ProgressMaker | None
) -> Pretrained:
    """Run a recipe on pairs; see :func:`medfm.workflows.pretrain.pretrain`, whose checks have passed.

    Raises:
        TrainingError: No reports, no validation records, a checkpoint of another run, a bad loss.
        ConfigError: The recipe does not fit the architecture.
        WeightsError: The text tower to start from is absent or another one.
    """
    card = _card(config, cohort)
    used = with_texts(cohort, config)
    parts = choose_rows(used, config)
    network: Any = build_network(card, config.seed)
    model = pair_model(network, config)
    began = start_network(network, card, config.start) if isinstance(config, TowersRecipe) else ""
    chosen = used.subset(np.array([*parts.train, *parts.validation]))
    boundary = len(parts.train)
    choices = None
    if isinstance(config, TowersRecipe):
        choices = text_choices(chosen.table, config.text, chosen.modality)
        train_texts = [choices.texts[r] for own in choices.options[:boundary] for _, rows in own for r in rows]
    else:
        train_texts = [str(text) for text in chosen.table[config.text.column]][:boundary]
    tokenizer_files = _start_text(network, card, config, train_texts)
    make_folder(folder)
    tokenizer = _tokenizer(folder, card, network, tokenizer_files)
    fabric = make_fabric(config.machine, config.precision)
    fabric.launch()
    shown: ProgressMaker = progress if progress is not None and fabric.is_global_zero else Silent
    preprocess = Preprocessing(preprocessing_steps(card, config.preprocessing_variant))
    records = load_record_tensors(chosen, preprocess, config.machine.memory_mb, shown)
    for record, reason in records.failures:
        logger.warning("record %s was left out: %s", record, reason)
    reports = [str(text) for text in chosen.table[config.text.column]] if choices is None else []
    assert card.spec.text is not None
    limit = getattr(network.args.text, "limit", None) or network.args.text.positions
    cut = min(config.text.max_tokens or card.spec.text.max_tokens, limit)

    def pairs_of(positions: list[int], what: str) -> Pairs:
        if choices is None:
            made = _pairs(records, positions, reports, tokenizer, cut)
        else:
            made = _tower_pairs(records, positions, choices, tokenizer, cut)
        return _windowed(made, config, tokenizer, cut, what)

    training = pairs_of([i for i, row in enumerate(records.rows) if row < boundary], "training")
    held_out = [i for i, row in enumerate(records.rows) if row >= boundary]
    validation = pairs_of(held_out, "validation") if held_out else None
    if model.frozen_text and config.text.cache and model.cache_texts:
        network.to(fabric.device)
        training = _with_vectors(training, model)
        validation = None if validation is None else _with_vectors(validation, model)
    if isinstance(config, TowersRecipe):
        training = replace(
            training,
            view=PairView(config.augmentation, preprocess, config.seed),
            strata=_strata(chosen, training, config.balance),
        )
    judge = _judge(config, validation, chosen, tokenizer, preprocess)
    identity = {
        "recipe": config.procedure(),
        "cohort": chosen.digest(),
        "pairs": len(training),
        "tokenizer": sha256_bytes(b"".join(tokenizer_files[name] for name in sorted(tokenizer_files))),
        "content": training.digest(),
    }
    if fabric.is_global_zero and not resume:
        write_text(folder / "config.yaml", config.to_yaml())
    first, epoch = train_pairs(
        model,
        training,
        folder,
        config=config,
        identity=identity,
        fabric=fabric,
        judge=judge,
        resume=resume,
        progress=shown,
    )
    rows = read_log(folder / "log.jsonl")
    result = Pretrained.of(
        rows,
        folder=folder,
        encoder_id=trained_id(config, cohort),
        pictures=len(training),
        resumed_from=first,
        failures=records.failures,
        is_main=fabric.is_global_zero,
        what="pairs of record and report" if config.family == "merl" else "pairs of picture and text",
        notes=(str(training.figures),) if training.figures is not None else (),
    )
    if fabric.is_global_zero:
        draw_curves(folder / "loss.png", rows, f"{config.name} on {cohort.name}", kept=epoch)
        write_pair_encoder(result, network, card, config, chosen, tokenizer_files, epoch, rows, began)
    return result


def _card(config: PairRecipe, cohort: Cohort) -> Card:
    """The card of the architecture; of the cohort's modality where the recipe takes any pictures."""
    card = get_card(config.encoder)
    if cohort.modality == card.modality:
        return card
    allowed = card.modalities
    if isinstance(config, TowersRecipe) and config.any_picture and ".png" in get_modality(cohort.modality).suffixes:
        allowed = (*allowed, cohort.modality)
    if cohort.modality not in allowed:
        raise ConfigError(
            f"The encoder '{card.id}' takes {card.modality} records; the cohort holds {cohort.modality}.",
            where=f"recipe {config.name}: encoder",
            fix=f"choose a recipe for {cohort.modality} records, or say --modality {card.modality} if the table holds those",
        )
    spec = card.spec.model_copy(update={"modality": cohort.modality, "also_for": ()})
    return Card(card.path, card.header.model_copy(update={"medfm": spec}), card.prose, card.sha256)


def with_texts(cohort: Cohort, config: PairRecipe) -> Cohort:
    """The records that have what the recipe makes texts of: a report, a category, or both.

    Raises:
        CohortError: There is no such column.
        TrainingError: No record has one.
    """
    rule = config.text
    if not isinstance(rule, FlairText) or not rule.categories:
        return with_reports(cohort, rule.column)
    used = with_reports(cohort, rule.column) if rule.source == "reports" else cohort
    kept = usable(used.table, rule, used.modality)
    if not kept.any():
        raise TrainingError("No record has a category to make a text of.", where=cohort.name)
    if not kept.all():
        logger.warning("%d records without a category, or with one that is left out, are not used", int((~kept).sum()))
    return used.subset(kept)


def with_reports(cohort: Cohort, column: str) -> Cohort:
    """The records that have a report.

    Raises:
        CohortError: There is no such column.
        TrainingError: No record has one.
    """
    if column not in cohort.table.columns:
        raise CohortError(
            f"The cohort has no column '{column}', and pairs need a report for each record.",
            where=cohort.name,
            fix="name the column of the reports: --set text.column=COLUMN (or --map text=COLUMN)",
        )
    values = cohort.column(column)
    present = values.notna() & (values.astype(str).str.strip() != "")
    if not present.any():
        raise TrainingError(f"No record has a report in the column '{column}'.", where=cohort.name)
    if not present.all():
        logger.warning("%d records without a report in '%s' are left out", int((~present).sum()), column)
    return cohort.subset(present.to_numpy(dtype=bool))


def choose_rows(cohort: Cohort, config: PairRecipe) -> Parts:
    """Which rows of `cohort` are trained on, and which judge the epochs.

    Raises:
        TrainingError: None to train on, or none to validate on although the selection needs some.
    """
    everything = np.arange(len(cohort))
    split = cohort.table["split"].to_numpy(dtype=object)
    rows = everything if config.split == "all" else everything[split == "train"]
    if len(rows) == 0:
        raise TrainingError(
            f"The cohort '{cohort.name}' has no records with a report of the split '{config.split}'.",
            expected="a column 'split' with train, val and test",
            fix="add the column, or use every record with --set split=all (test records included)",
        )
    validation = _validation_rows(cohort, rows, split, config.validation, config.seed)
    rows = np.setdiff1d(rows, validation)
    if config.selection != "last" and len(validation) < 2:
        raise TrainingError(
            f"The selection '{config.selection}' needs validation records; there are {len(validation)}.",
            expected="records of the split val",
            fix="--set validation.source=patients sets a share aside, --set selection=last keeps the last epoch",
        )
    return Parts(rows.tolist(), validation.tolist())


def _validation_rows(cohort: Cohort, rows: np.ndarray, split: np.ndarray, rule: Validation, seed: int) -> np.ndarray:
    if rule.source == "split":
        return np.flatnonzero(split == "val")
    draw = np.random.default_rng([seed, 77])
    if rule.source == "records":
        return np.sort(draw.permutation(rows)[: max(1, round(rule.share * len(rows)))])
    people = cohort.table["patient_id"].to_numpy(dtype=object)[rows]
    names = np.array(sorted(set(people)), dtype=object)
    taken = set(draw.permutation(names)[: max(1, round(rule.share * len(names)))])
    return rows[np.array([person in taken for person in people])]


def _start_text(network: Any, card: Card, config: PairRecipe, texts: list[str]) -> dict[str, bytes]:
    """Give the text tower its first weights; the files of its tokenizer, by name (none: it comes with open_clip)."""
    spec, args = card.spec.text, network.args.text
    assert spec is not None and args is not None
    tower = bert_tower(network)
    if tower is None:
        return {}
    if config.text.start == "random":
        return {"vocab.txt": ("\n".join(build_vocabulary(texts, args.vocabulary)) + "\n").encode()}
    weights = find_bert(spec, config.text.weights)
    start_text(tower, args, weights)
    beside = [weights.parent / name for name in FILES if (weights.parent / name).is_file()]
    if beside:
        return {beside[0].name: beside[0].read_bytes()}
    file = TextTokenizer(spec, card.id, args.vocabulary).locate()
    return {file.name: file.read_bytes()}


def _tokenizer(folder: Path, card: Card, network: Any, files: dict[str, bytes]) -> TextTokenizer | ClipTokenizer:
    spec, args = card.spec.text, network.args.text
    assert spec is not None and args is not None
    if spec.kind == "clip_bpe":
        return ClipTokenizer(spec, card.id, args.vocabulary)
    make_folder(folder / TOKENIZER)
    for name, content in files.items():
        target = folder / TOKENIZER / name
        if not target.is_file() or target.read_bytes() != content:
            write_text(target, content.decode("utf-8"))
    return TextTokenizer(spec, card.id, args.vocabulary, folder)


def _pairs(
    records: RecordTensors, positions: list[int], reports: list[str], tokenizer: TextTokenizer | ClipTokenizer, cut: int
) -> Pairs:
    chosen = records.take(positions)
    texts, which = different([reports[row] for row in chosen.rows])
    return Pairs(chosen, tokenise(tokenizer, list(texts), cut), which, texts)


def _tower_pairs(
    records: RecordTensors,
    positions: list[int],
    choices: TextChoices,
    tokenizer: TextTokenizer | ClipTokenizer,
    cut: int,
) -> Pairs:
    chosen = records.take(positions)
    own = choices.take(chosen.rows)
    first = torch.tensor([options[0][1][0] for options in own.options])
    return Pairs(chosen, tokenise(tokenizer, list(own.texts), cut), first, own.texts, own)


def _strata(cohort: Cohort, pairs: Pairs, column: str | None) -> tuple[tuple[int, ...], ...] | None:
    if column is None:
        return None
    if column not in cohort.table.columns:
        raise CohortError(f"The cohort has no column '{column}' to balance by.", where=cohort.name)
    values = cohort.table[column].astype(str).to_numpy()[list(pairs.records.rows)]
    return tuple(tuple(np.flatnonzero(values == value).tolist()) for value in sorted(set(values)))


def _windowed(pairs: Pairs, config: PairRecipe, tokenizer: TextTokenizer | ClipTokenizer, cut: int, what: str) -> Pairs:
    windows, figures = text_windows(tokenizer, pairs.texts, cut, config.text.window)
    if figures.long:
        logger.warning("%s: %s", what, figures)
    return replace(pairs, windows=windows, figures=figures)


def _with_vectors(pairs: Pairs, model: PairModel) -> Pairs:
    if pairs.windows is None:
        ids, mask = pairs.text
        return replace(pairs, text=(model.sentence_vectors(ids, mask),))
    vectors, windows = pairs.windows.with_vectors(model.sentence_vectors)
    return replace(pairs, windows=windows) if vectors is None else replace(pairs, text=(vectors,), windows=None)


def _judge(
    config: PairRecipe,
    validation: Pairs | None,
    chosen: Cohort,
    tokenizer: TextTokenizer | ClipTokenizer,
    preprocess: Preprocessing,
) -> Judge | None:
    if validation is None:
        return None
    rule = config.zero_shot
    zero_shot: ZeroShotJudge | None = None
    if rule is not None and config.selection == "zero_shot_validation":
        labelled, records = chosen, validation.records
        if rule.table is not None:
            labelled = load_cohort(rule.table, modality=chosen.modality).of_split("val")
            records = load_record_tensors(labelled, preprocess, config.machine.memory_mb)
        zero_shot = zero_shot_judge(rule, labelled, records, tokenizer.encode)

    def judge(model: PairModel) -> tuple[dict[str, float], float]:
        values = validation_losses(model, validation, config)
        if zero_shot is None:
            return values, -values["val_total"]
        values["val_zero_shot_auroc"] = zero_shot(model)
        return values, values["val_zero_shot_auroc"]

    return judge

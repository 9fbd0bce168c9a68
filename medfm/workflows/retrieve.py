"""Retrieval over a cohort: embeddings (and a text tower) in, a result with its report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import CohortError, ConfigError, EvaluationError
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.protocol import Protocol, other_method, protocol_of
from medfm.evaluation.retrieval_config import Retrieval
from medfm.workflows.before_evaluation import check_cohort
from medfm.workflows.measured_search import check_way, mapped, way_of
from medfm.workflows.result_parts import batch_effect_of, provenance_of, resolved_settings
from medfm.workflows.table_run import EvaluationRun, refuse_existing, with_weights_note

if TYPE_CHECKING:
    import pandas as pd

    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.reporting.result import Result

DEFAULT = "retrieval@1"
DEFAULT_FOR_LABELS = "retrieval-records@1"


def retrieve(
    embeddings: Embeddings | Encoder | str,
    cohort: Cohort,
    protocol: str | Protocol | None = None,
    *,
    encoder: Encoder | None = None,
    text: str = "text",
    label: str | None = None,
    overrides: Sequence[str] = (),
    allow: Sequence[str] = (),
    cache: str | Path | None = None,
    name: str = "",
    show_text: bool = False,
    progress: ProgressMaker | None = None,
) -> Result:
    """How well records find their texts, texts their records, or records others of the same label.

    Args:
        embeddings: From :func:`medfm.embed`; or an encoder (or its id), which embeds the cohort first.
        cohort: Records with a column of texts, or of labels.
        protocol: ``retrieval@1`` for texts, ``retrieval-records@1`` for a `label`, by default; also a
            YAML file or a :class:`Protocol`.
        encoder: Whose text tower reads the texts; not needed where `embeddings` is an encoder.
        text: Column of the texts.
        label: Column of labels, for searches among records.
        overrides: ``KEY=VALUE`` settings on top of the protocol.
        allow: Codes of checks that may fail.
        cache: The cache folder.
        name: What people call the result.
        show_text: Put the texts of the best and worst queries into the report. They are the
            cohort's own and may name people; without it only record ids are kept.
        progress: Makes the progress displays.

    Raises:
        CohortError: There is no such column.
        CardError: The encoder has no text tower.
        ConfigError: The protocol is of another method, or the encoder is not that of the embeddings.
        EvaluationError: No record has a text, or no query has a right answer.
    """
    from medfm.evaluation.retrieval import Texts, chances, clean_texts, headline_metrics, retrieval_predictions
    from medfm.evaluation.retrieval_index import approximate_notes, search_record
    from medfm.evaluation.retrieval_lists import rows_of
    from medfm.evaluation.retrieval_summary import summarise_retrieval
    from medfm.reporting.result import Result

    plan = plan_of(protocol, label, overrides)
    method = _method(plan)
    with_texts = any("text" in direction for direction in method.directions)
    reads = with_texts or label is None
    column = clean_texts(_texts_of(cohort, text)) if reads else []
    labels = cohort.column(label) if label is not None else None
    vectors, encoder = _vectors(embeddings, cohort, encoder, with_texts, cache, progress)
    findings = check_cohort(cohort, label or text, "retrieval", plan, vectors, allow)
    kept, notes = _kept(cohort, vectors, method, column if reads else None, labels)
    records = cohort.table.iloc[kept].reset_index(drop=True)
    rows = vectors.rows([str(v) for v in records["record_id"]])
    # Already in order, as after medfm.embed: then a memory map stays one.
    whole = len(rows) == len(vectors) and bool((rows == np.arange(len(rows))).all())
    values = vectors.values if whole else rows_of(vectors.values, rows)
    texts = Texts.of([column[i] for i in kept]) if reads else None
    about: dict[str, Any] = {}
    text_values = None
    if with_texts and texts is not None and encoder is not None:
        text_values, about = _read_texts(encoder, texts.distinct, cache, progress)
    way, approximate, aside = way_of(plan, values, text_values, None if texts is None else texts.code)
    predictions, said = retrieval_predictions(
        values,
        records,
        method,
        texts=texts,
        text_values=text_values,
        labels=None if labels is None else [str(labels.iloc[i]) for i in kept],
        target=label or text,
        carried=plan.statistics.subgroup_columns,
        approximate=approximate,
        aside=aside,
        progress=progress,
    )
    chosen = plan.metrics or headline_metrics(method, None if approximate is None else approximate.depth)
    said += [*([way.note] if way.note else []), *(approximate_notes(approximate) if approximate else [])]
    if about.get("cut_off"):
        said.append(
            f"{about['cut_off']} of {about['distinct']} texts are longer than {about['max_tokens']} tokens and were cut "
            f"off there; {about['tokens_not_read']} tokens were not read."
        )
    summary = summarise_retrieval(
        predictions, plan.statistics, chosen, patients_known=cohort.patients_known, said=[*notes, *said]
    )
    extras: dict[str, Any] = {"chance": chances(predictions, chosen), **({"texts": about} if about else {})}
    extras["search"] = search_record(way, approximate)
    if show_text and texts is not None:
        by_id = dict(zip(records["record_id"].astype(str), (texts.distinct[c] for c in texts.code), strict=True))
        extras["shown_texts"] = _shown_texts(predictions.table, method, by_id)
    provenance = provenance_of(vectors, cohort, plan)
    if with_texts and encoder is not None:
        provenance["text_fingerprint"] = encoder.text_fingerprint
        provenance["weights_note"] = encoder.weights_note
    return Result(
        kind="retrieval",
        protocol=plan,
        summary=summary,
        predictions=predictions,
        provenance=provenance,
        findings=findings,
        config={
            "text": text if reads else None,
            "label": label,
            "show_text": show_text,
            "allow": sorted(allow),
            **resolved_settings(vectors, cohort, plan),
        },
        batch_effect=batch_effect_of(vectors, cohort, plan),
        extras=extras,
        name=name,
    )


def retrieve_table(
    table: str | Path,
    encoder: str,
    *,
    weights: str | None = None,
    device: str = "auto",
    preprocessing: str | None = None,
    cohort: Mapping[str, Any] | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressMaker | None = None,
    **settings: Any,
) -> EvaluationRun:
    """Load a cohort and an encoder, embed (cached), search, and save the result.

    Args:
        table: The cohort's table.
        encoder: Encoder id.
        weights: Checkpoint file, ``"random"``, or ``None`` for the card's own.
        device: ``"auto"`` or a torch device.
        preprocessing: Another preprocessing of the card.
        cohort: Arguments of :func:`medfm.load_cohort`.
        embed_settings: Settings of the embedding run.
        out: Result folder to write.
        overwrite: Replace an earlier result folder.
        progress: Makes the progress displays.
        settings: As of :func:`retrieve`.

    Raises:
        StoreError: The result folder exists already, or cannot be written.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.encoders.load import load_encoder
    from medfm.workflows.embed import embed

    refuse_existing(out, overwrite)
    records = load_cohort(table, **dict(cohort or {}))
    # What can be wrong with the request comes out before the embedding, not after it.
    label, text = settings.get("label"), settings.get("text", "text")
    plan = plan_of(settings.get("protocol"), label, settings.get("overrides", ()))
    check_way(plan)
    method = _method(plan)
    if label is not None:
        records.column(label)
    if label is None or any("text" in direction for direction in method.directions):
        _texts_of(records, text)
    loaded = load_encoder(encoder, weights=weights, device=device, variant=preprocessing)
    if any("text" in direction for direction in method.directions):
        _need_text(loaded)
    vectors = mapped(embed(loaded, records, collect=False, progress=progress, **dict(embed_settings or {})))
    vectors = with_weights_note(vectors, loaded)
    result = retrieve(
        vectors, records, encoder=loaded, cache=dict(embed_settings or {}).get("cache"), progress=progress, **settings
    )
    folder = None if out is None else result.save(out, overwrite=overwrite)
    return EvaluationRun(result, folder, len(vectors.failures))


def _texts_of(cohort: Cohort, column: str) -> pd.Series:
    """The column of texts; without one the error says what else can be searched."""
    if column in cohort.table.columns:
        return cohort.column(column)
    raise CohortError(
        f"The cohort has no column '{column}'.",
        where=cohort.name,
        expected="a column of texts, one per record",
        fix="name it with --text COLUMN; or search among records with --label COLUMN; or by words with --query",
    )


def plan_of(protocol: str | Protocol | None, label: str | None, overrides: Sequence[str] = ()) -> Protocol:
    """The protocol of a measurement: as named, else the default for texts or for a label.

    Raises:
        UnknownNameError, ConfigError: There is none, it is of another method, or a setting is wrong.
    """
    plan = protocol_of(protocol or (DEFAULT if label is None else DEFAULT_FOR_LABELS), overrides)
    if not isinstance(plan.method, Retrieval):
        expected = "retrieval@1, retrieval-one-to-one@1, quilt-retrieval@1 or retrieval-records@1"
        raise other_method(plan, "retrieval", expected=expected)
    return plan


def _method(plan: Protocol) -> Retrieval:
    assert isinstance(plan.method, Retrieval)
    return plan.method


def _vectors(
    given: Embeddings | Encoder | str,
    cohort: Cohort,
    encoder: Encoder | None,
    with_texts: bool,
    cache: str | Path | None,
    progress: ProgressMaker | None,
) -> tuple[Embeddings, Encoder | None]:
    """The records' vectors, and the encoder that reads texts; one that cannot is refused before the work."""
    if isinstance(given, Embeddings):
        if not with_texts:
            return given, encoder
        if encoder is None:
            raise ConfigError("Texts are searched, but no encoder reads them.", fix="pass encoder=, or its id instead")
        about = given.provenance.get("fingerprint")
        if about is not None and about != encoder.fingerprint:
            raise ConfigError(
                f"The embeddings were not made by this '{encoder.id}': their fingerprints differ.",
                fix="embed the records with the encoder that reads the texts",
            )
        _need_text(encoder)
        return given, encoder
    from medfm.encoders.load import load_encoder
    from medfm.workflows.embed import embed

    loaded = load_encoder(given) if isinstance(given, str) else given
    if with_texts:
        _need_text(loaded)
    made = embed(loaded, cohort, progress=progress, cache=cache)
    return with_weights_note(made, loaded), loaded


def _need_text(encoder: Encoder) -> None:
    """Raise what :meth:`Encoder.encode_text` raises without a text tower, tokenizer or its weights."""
    encoder.encode_text(["a"])


def _kept(
    cohort: Cohort, vectors: Embeddings, method: Retrieval, texts: list[str] | None, labels: Any
) -> tuple[np.ndarray, list[str]]:
    """Rows that take part, and what a reader must know about the others."""
    mask, notes = vectors.rows(cohort.record_ids) >= 0, []
    if not mask.any():
        raise EvaluationError("No record of the cohort has an embedding.", where=cohort.name)
    split = cohort.table["split"].to_numpy(dtype=object)
    if method.split == "test_or_all" and (split == "test").any():
        mask &= split == "test"
        notes.append(f"Only the split 'test' is searched: {int(mask.sum())} of {len(cohort)} records.")
    for what, there in (
        ("text", None if texts is None else np.array([bool(t) for t in texts])),
        ("label", None if labels is None else (labels.notna() & (labels.astype(str).str.strip() != "")).to_numpy()),
    ):
        if there is not None and (mask & ~there).any():
            notes.append(f"{int((mask & ~there).sum())} records without a {what} are left out.")
            mask &= there
    if not mask.any():
        raise EvaluationError(
            "No record is left to search: none has a text or label.", where=cohort.name, expected="filled cells"
        )
    return np.flatnonzero(mask), notes


def _read_texts(
    encoder: Encoder, texts: Sequence[str], cache: str | Path | None, progress: ProgressMaker | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Vectors (u, d) of the texts, and how many there are and were cut off."""
    from medfm.embeddings.texts import embed_texts

    with (progress or Silent)("reading texts", len(texts), "texts") as shown:
        vectors = embed_texts(encoder, texts, cache=cache, progress=shown)
    spec = encoder.card.spec.text
    most = spec.max_tokens if spec is not None else 0
    over = [length - most for length in encoder.text_lengths(list(texts)) if length > most]
    return vectors, {"distinct": len(texts), "cut_off": len(over), "max_tokens": most, "tokens_not_read": sum(over)}


def _shown_texts(table: Any, method: Retrieval, texts: Mapping[str, str]) -> dict[str, str]:
    """Texts of the queries that the report shows, and of what they found first, by record id."""
    from medfm.reporting.retrieval import examples

    wanted: set[str] = set()
    for direction in method.directions:
        for rows in examples(table, direction):
            wanted |= {str(v) for c in ("record_id", f"{direction}:nearest") for v in rows[c].dropna()}
    return {record: texts[record] for record in sorted(wanted) if record in texts}

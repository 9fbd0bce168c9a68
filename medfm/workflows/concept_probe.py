"""The concept-bottleneck probe: which named findings carry a classification, and what that costs.

Steps: findings of the knowledge -> text vectors (kept on disk) -> similarity of every record to every
finding -> sparse linear model under the protocol -> the linear probe on the whole embeddings on the
same folds beside it, compared under the same resampled patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.config import build
from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker, Silent
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache, text_cache
from medfm.evaluation.concepts import Concept, class_ids, concept_features, concepts_of
from medfm.evaluation.evaluate import Evaluation, evaluate
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.protocol import LinearProbe, Protocol, Selection, ZeroShot, other_method, protocol_of
from medfm.evaluation.protocol_concepts import ConceptProbe
from medfm.evaluation.summarise import summarise
from medfm.evaluation.zero_shot import unit_rows
from medfm.knowledge.load import list_knowledge, load_knowledge
from medfm.knowledge.schema import Knowledge
from medfm.workflows.concept_weights import weights_of
from medfm.workflows.probe import probed
from medfm.workflows.zero_shot_prompts import reaching_the_tower
from medfm.workflows.zero_shot_texts import cut_notes, tower_of

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.reporting.result import Result

PROTOCOL = "concept-probe@1"


@dataclass(frozen=True)
class Asked:
    """The findings as a text tower has them.

    Attributes:
        concepts: What is asked for.
        texts: The tower's vectors.
        lower_case: Whether texts are lower-cased.
        shown: What of each text reaches the tower.
        knowledge: Where the findings stand.
        notes: What a reader must know.
        tower: Fingerprint of the text tower.
    """

    concepts: tuple[Concept, ...]
    texts: TextCache
    lower_case: bool
    shown: list[dict[str, Any]]
    knowledge: Knowledge
    notes: tuple[str, ...]
    tower: str | None

    def features(self, embeddings: Embeddings) -> Embeddings:
        """Similarity of each record to each finding, in place of the embeddings."""
        return concept_features(embeddings, self.concepts, self.texts, lower_case=self.lower_case)

    def vectors(self) -> np.ndarray:
        """float64 (findings, d), each of length 1."""
        texts = [c.text.lower() if self.lower_case else c.text for c in self.concepts]
        return unit_rows(self.texts.vectors(texts), "text embeddings")

    def by(self, encoder: Any, cache: str | Path | None) -> Asked:
        """The same findings read by another text tower."""
        return replace(self, texts=text_cache(encoder, cache), tower=encoder.text_fingerprint)


def concept_plan(
    protocol: str | Protocol,
    overrides: Sequence[str] = (),
    *,
    knowledge: str | Path | None = None,
    label_set: str | None = None,
) -> Protocol:
    """The protocol with ``--set`` texts and the single settings on top; other methods pass where none is given.

    Raises:
        ConfigError: Knowledge is given to a method that asks no findings, or a setting is wrong.
        UnknownNameError: There is no such protocol.
    """
    plan = protocol_of(protocol, overrides)
    given = {k: str(v) for k, v in (("knowledge", knowledge), ("label_set", label_set)) if v is not None}
    if given and not isinstance(plan.method, ConceptProbe):
        raise ConfigError(
            f"The protocol '{plan.id}' asks for no findings, so knowledge changes nothing.",
            expected=f"--protocol {PROTOCOL}, or leave out --knowledge and --label-set",
        )
    if not given:
        return plan
    return build(Protocol, {**plan.to_dict(), "method": {**plan.method.to_dict(), **given}}, where=plan.id)


def ask(
    method: ConceptProbe,
    encoder: Any,
    modality: str,
    *,
    embeddings: Embeddings | None = None,
    cache: str | Path | None = None,
    progress: ProgressMaker | None = None,
) -> Asked:
    """Encode the findings; what is missing comes out here, before any record is read.

    Raises:
        ConfigError: There is no knowledge, it has no findings, or the embeddings are another encoder's.
        UnknownNameError: There is no such knowledge or label set.
        CardError, OfflineError: There is no text tower, or its vocabulary is not on this machine.
    """
    if method.knowledge is None and modality not in list_knowledge():
        raise ConfigError(
            f"There is no knowledge of {modality or 'this modality'} to take findings from.",
            expected=f"a domain ({', '.join(list_knowledge())}) or a YAML file (docs/knowledge.md)",
            fix="name one with --knowledge",
        )
    knowledge = load_knowledge(method.knowledge or modality)
    concepts = concepts_of(knowledge, method.label_set, method.template)
    tower, lower_case = tower_of(
        encoder if embeddings is None else embeddings, encoder, ZeroShot(lower_case=method.lower_case)
    )
    texts = text_cache(tower, cache)
    wanted = [c.text for c in concepts]
    shown = [
        {"text": e.text, "encoded": e.encoded, "tokens": e.tokens, "kept": e.kept}
        for e in reaching_the_tower(wanted, tower, lower_case)
    ]
    given = [text.lower() if lower_case else text for text in wanted]
    with (progress or Silent)("encoding texts", len(given), "texts") as bar:
        for start in range(0, len(given), 16):
            texts.vectors(given[start : start + 16])
            bar.advance(len(given[start : start + 16]))
    asked = [knowledge.entry(i) for i in class_ids(knowledge, method.label_set)]
    bare = [entry.name for entry in asked if not entry.findings]
    notes = cut_notes(shown)
    if bare:
        notes.append(
            f"{len(bare)} of {len(asked)} classes of the knowledge list no findings: {', '.join(bare[:5])}"
            f"{' ...' if len(bare) > 5 else ''}."
        )
    return Asked(concepts, texts, lower_case, shown, knowledge, tuple(notes), getattr(tower, "text_fingerprint", None))


def concept_probe(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None = None,
    protocol: str | Protocol = PROTOCOL,
    *,
    text_encoder: Any,
    knowledge: str | Path | None = None,
    label_set: str | None = None,
    cache: str | Path | None = None,
    overrides: Sequence[str] = (),
    **settings: Any,
) -> Result:
    """A sparse linear model on named findings, beside the linear probe on the whole embeddings.

    Args:
        embeddings: Of the cohort's records, in the space of the texts (projected, not pooled).
        cohort: Records with labels and patients.
        target: A column of classes, or a list of 0/1 columns; the cohort's own by default.
        protocol: Id, file or :class:`Protocol` of the method ``concept_probe``.
        text_encoder: The encoder that made the embeddings; its text tower reads the findings.
        knowledge: Domain or YAML file; the cohort's modality by default.
        label_set: Only findings of the classes of this label set; all findings by default.
        cache: Cache folder of the text vectors.
        overrides: ``KEY=VALUE`` settings on top of the protocol.
        settings: As of :func:`medfm.workflows.probe.probe`; a `baseline` holds similarities too.

    Returns:
        A result of kind ``concept_probe``; ``extras["concepts"]`` holds findings, weights and the black box.

    Raises:
        ConfigError: There are no findings, or a setting is wrong.
        CardError, OfflineError: There is no text tower, or its vocabulary is not on this machine.
        EvaluationError, ChecksFailedError: As of :func:`medfm.workflows.probe.probe`.
    """
    plan = concept_plan(protocol, overrides, knowledge=knowledge, label_set=label_set)
    if not isinstance(plan.method, ConceptProbe):
        raise other_method(plan, "concept_probe", expected=PROTOCOL)
    asked = ask(
        plan.method,
        text_encoder,
        cohort.modality,
        embeddings=embeddings,
        cache=cache,
        progress=settings.get("progress"),
    )
    return concept_probed(embeddings, cohort, target, plan, asked, **settings)[0]


def concept_probed(
    embeddings: Embeddings,
    cohort: Cohort,
    target: str | Sequence[str] | None,
    plan: Protocol,
    asked: Asked,
    **settings: Any,
) -> tuple[Result, Evaluation]:
    """As :func:`concept_probe`, with the findings encoded; the evaluation holds the weights."""
    features = asked.features(embeddings)
    method = plan.method
    assert isinstance(method, ConceptProbe)
    named = None if method.knowledge is None else Path(method.knowledge).name
    shown_plan = plan.model_copy(update={"method": method.model_copy(update={"knowledge": named})})
    result, done = probed(embeddings, cohort, target, shown_plan, features=features, **settings)
    dropped = result.config["drop_unlabelled"]
    black_box = _black_box(embeddings, cohort, result, plan, settings.get("device"), dropped)
    knowledge = asked.knowledge
    extras = {
        "knowledge": {
            "domain": knowledge.domain,
            "version": knowledge.version,
            "sha256": knowledge.digest(),
            "reviewed_by": knowledge.reviewed_by,
        },
        "label_set": method.label_set,
        "lower_case": asked.lower_case,
        "texts": asked.shown,
        **weights_of(done, result.summary.task, result.summary.classes, asked.concepts),
        "black_box": _beside(result, done, black_box, plan),
    }
    about = {
        "text_fingerprint": asked.tower,
        "knowledge": f"{knowledge.domain}, {knowledge.version}",
        "knowledge_sha256": knowledge.digest(),
        "findings_sha256": features.provenance["concepts_sha256"],
    }
    made = replace(
        result,
        summary=result.summary.model_copy(update={"notes": (*result.summary.notes, *asked.notes)}),
        provenance={**result.provenance, **about},
        extras={**result.extras, "concepts": extras},
    )
    return made, done


def black_box_plan(plan: Protocol) -> Protocol:
    """The linear probe of the whole embeddings on the folds of a concept probe."""
    method = plan.method
    assert isinstance(method, ConceptProbe)
    probe = LinearProbe(selection=Selection(folds=method.folds, metric=method.metric))
    return plan.model_copy(update={"method": probe, "title": "linear probe on the whole embeddings"})


def _black_box(
    embeddings: Embeddings, cohort: Cohort, result: Result, plan: Protocol, device: str | None, dropped: bool
) -> Predictions:
    from medfm.evaluation.target import labelled

    target = result.config["target"]
    return evaluate(
        embeddings,
        labelled(cohort, target) if dropped else cohort,
        target,
        black_box_plan(plan),
        task=result.config["task"],
        positive=result.config["positive"],
        device=device,
    ).predictions.of_variant(MAIN)


def _beside(result: Result, done: Evaluation, other: Predictions, plan: Protocol) -> dict[str, Any]:
    """The headline figures of both models and their paired differences (concepts minus black box)."""
    statistics = plan.statistics.model_copy(update={"subgroups": ()})
    known = result.summary.patients_known
    names = [e.metric for e in result.summary.headline]
    summary = summarise(other, statistics, metrics=names, patients_known=known)
    pair = match(other, done.predictions.of_variant(MAIN), patients_known=known)
    rows: list[dict[str, Any]] = []
    for found in compare_pair(pair, metrics_for(names, result.summary.task), statistics):
        own, box = (s.estimate(found.metric, MAIN) for s in (result.summary, summary))
        rows.append(
            {
                "metric": found.metric,
                "better": found.better,
                "concepts": {"value": own.value, "low": own.low, "high": own.high},
                "black_box": {"value": box.value, "low": box.low, "high": box.high},
                "difference": {"value": found.difference, "low": found.low, "high": found.high},
                "p": found.p,
                "method": found.method,
                "note": found.note,
            }
        )
    return {"level": statistics.level, "method": "linear_probe", "rows": rows}

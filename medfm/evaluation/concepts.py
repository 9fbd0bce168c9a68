"""Named findings as features: the similarity of each record to each finding of the knowledge base.

A finding is encoded by the encoder's text tower; the cosine with a record's embedding says how much
the record looks like these words, as far as the encoder knows them. On these features stands the
concept-bottleneck probe (:mod:`medfm.evaluation.concept_probe`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medfm.core.errors import ConfigError, EvaluationError
from medfm.core.hashing import sha256_json
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.texts import TextCache
from medfm.knowledge.prompts import finding_texts
from medfm.knowledge.schema import Knowledge

# Says in the provenance of embeddings that their columns are similarities to findings.
FEATURES = "concepts_sha256"


@dataclass(frozen=True)
class Concept:
    """One finding: its words, the text that is encoded, and the classes the knowledge lists it under."""

    name: str
    text: str
    classes: tuple[str, ...]


def concepts_of(
    knowledge: Knowledge, label_set: str | Sequence[str] | None = None, template: str | None = None
) -> tuple[Concept, ...]:
    """The different findings of the knowledge, or of the classes of a label set, in the order of the file.

    Absences (findings that start with 'no ') are kept: but towers read negation badly, so their
    weights say little.

    Args:
        knowledge: The domain's knowledge.
        label_set: Name of one of its label sets, or class ids; every class when ``None``.
        template: Text to encode, with {name} where the finding goes; the knowledge's first when ``None``.

    Raises:
        UnknownNameError: No such label set or class.
        ConfigError: Fewer than two findings, or the template lacks {name}.
    """
    template = knowledge.templates[0] if template is None else template
    if template.count("{name}") != 1:
        raise ConfigError(f"The template '{template}' must hold {{name}} once.", where="template")
    entries = [knowledge.entry(class_id) for class_id in class_ids(knowledge, label_set)]
    under: dict[str, list[str]] = {}
    for entry in entries:
        for said in finding_texts(entry):
            under.setdefault(said, []).append(entry.name)
    if len(under) < 2:
        bare = [entry.id for entry in entries if not entry.findings]
        raise ConfigError(
            f"There {'is' if len(under) == 1 else 'are'} {len(under) or 'no'} named finding"
            f"{'' if len(under) == 1 else 's'} to ask for"
            + (f": {len(bare)} of {len(entries)} classes list none ({', '.join(bare[:5])})." if bare else "."),
            where=f"knowledge '{knowledge.domain}'" + (f", label set '{label_set}'" if label_set else ""),
            expected="at least two findings",
            fix="use all findings (no --label-set), other knowledge (--knowledge), or give its classes findings",
        )
    return tuple(Concept(said, template.replace("{name}", said), tuple(names)) for said, names in under.items())


def class_ids(knowledge: Knowledge, label_set: str | Sequence[str] | None) -> list[str]:
    """The classes whose findings are asked for, each once.

    Raises:
        UnknownNameError: No such label set.
    """
    if label_set is None:
        return [entry.id for entry in knowledge.classes]
    if isinstance(label_set, str):
        return list(dict.fromkeys(knowledge.label_set(label_set).labels.values()))
    return list(dict.fromkeys(label_set))


def concept_scores(X: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine similarity float64 (n, k), -1 to 1, of records (n, d) and concepts (k, d).

    Raises:
        EvaluationError: Other widths, or a vector without length or not finite.
    """
    X, vectors = np.asarray(X, dtype=np.float64), np.asarray(vectors, dtype=np.float64)
    if X.ndim != 2 or vectors.ndim != 2 or X.shape[1] != vectors.shape[1]:
        raise EvaluationError(
            f"Records {X.shape} and concepts {vectors.shape} are not in one space.",
            expected="embeddings of records and texts of the same encoder",
            fix="use an encoder whose embedding is projected into the space of its texts",
        )
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in (X, vectors)]
    if not all(np.isfinite(part).all() and (part > 0).all() for part in lengths):
        raise EvaluationError("An embedding is zero or not finite, so it has no direction.")
    scores: np.ndarray = (X / lengths[0]) @ (vectors / lengths[1]).T
    return scores


def concept_features(
    embeddings: Embeddings, concepts: Sequence[Concept], texts: TextCache, *, lower_case: bool = False
) -> Embeddings:
    """The embeddings with one column per finding in place of their own.

    Args:
        embeddings: In the space of the texts.
        concepts: From :func:`concepts_of`; at least one.
        texts: The encoder's text tower.
        lower_case: Whether texts are lower-cased before they are encoded.

    Raises:
        EvaluationError: There are no concepts, or the two are not in one space.
    """
    if not concepts:
        raise EvaluationError("There are no concepts.", fix="take them from concepts_of(knowledge)")
    vectors = texts.vectors([c.text.lower() if lower_case else c.text for c in concepts])
    digest = sha256_json([[c.name, c.text, list(c.classes)] for c in concepts])
    return replace(
        embeddings,
        values=concept_scores(embeddings.values, vectors),
        provenance={**embeddings.provenance, FEATURES: digest},
    )

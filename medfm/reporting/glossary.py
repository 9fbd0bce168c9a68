"""Terms of a report in clinicians' language."""

from __future__ import annotations

from medfm.evaluation.summary import Summary
from medfm.reporting.result import Result
from medfm.reporting.words import word

_METHODS = {
    "linear_probe": (
        "linear probe",
        "The encoder stays as it is; only one simple linear rule on top of its embedding is fitted to the labels. "
        "It measures how much the encoder already knows.",
    ),
    "knn": (
        "k nearest neighbours",
        "A record gets the label that is most frequent among the records most similar to it; nothing is fitted.",
    ),
    "mil": (
        "multiple-instance learning",
        "One prediction per patient from all of the patient's cells, which carry no labels of their own.",
    ),
    "retrieval": (
        "retrieval",
        "Records and texts (or records alone) are compared by the cosine of their embeddings; the most similar come "
        "first. Nothing is fitted.",
    ),
}
_METHODS["zero_shot"] = (
    "zero-shot scoring, prompt",
    "Nothing is fitted to labels. A prompt is a text that describes a class; a record's score for the class is how close "
    "its embedding lies to that of the text. Scores rank records; they are no probabilities.",
)
_METHODS["few_shot"] = (
    "few-shot adaptation, shots",
    "A small model is fitted on a few labelled records per class (the shots), drawn again and again, to see how far few "
    "labels lead. The encoder itself is not changed.",
)
_METHODS["survival"] = (
    "survival analysis, censored, hazard",
    "Patients are followed until an event or until they are last seen without it (censored). A Cox regression on the "
    "embedding predicts the hazard: how likely the event is from one moment to the next among those still without it.",
)
_METHODS["reconstruction"] = (
    "semantic code, stochastic code",
    "The semantic code is what the encoder says of a scan; the stochastic code holds the rest and is found by running the "
    "drawing backwards. From both the scan is drawn again; from the semantic code alone, with noise in place of the other, a "
    "scan that is alike.",
)
_METHODS["interpolation"] = (
    "interpolation between visits",
    "The codes of an earlier and a later visit are mixed by the time that has passed, and a scan is drawn from the mixture. "
    "Blending mixes the two images instead, voxel by voxel.",
)
_GENERAL = (
    (
        "encoder, embedding",
        "The encoder is the foundation model; it turns a record into a list of numbers, its embedding.",
    ),
    (
        "confidence interval (CI)",
        "The range in which the true figure plausibly lies, given how many patients were tested. Records "
        "of one patient resemble each other, so patients and not records are counted, by a formula or by drawing patients "
        "again and again.",
    ),
    ("record, patient", "A record is one image; a patient may have many. Sizes of both are given."),
    ("site", "Where a record comes from: laboratory, hospital or scanner."),
)
_CALIBRATION = (
    "calibration",
    "Whether a stated probability can be taken at its word: of all predictions made with 80 %, 80 % should be right.",
)
_DECISION = (
    "net benefit",
    "The share of records rightly acted upon, minus those wrongly acted upon, weighed by how bad a wrong action is at "
    "the chosen threshold.",
)
_FRACTION = (
    "training fraction",
    "How the figure changes when only a share of the training patients is used to fit the rule.",
)
_FINGERPRINT = (
    "fingerprint, hash",
    "A check sum. Two results with the same fingerprint come from exactly the same weights and preprocessing.",
)


def glossary(result: Result) -> list[tuple[str, str]]:
    """The terms that this result's report uses, with one or two sentences each."""
    summary = result.summary
    terms = list(_GENERAL)
    if result.kind in _METHODS:
        terms.insert(1, _METHODS[result.kind])
    terms += [(word(m).title, word(m).meaning) for m in _metrics(summary) if word(m).meaning]
    if summary.calibration is not None:
        terms.append(_CALIBRATION)
    if summary.decision:
        terms.append(_DECISION)
    if any(e.variant.startswith("fraction=") for e in summary.variants):
        terms.append(_FRACTION)
    return [*terms, _FINGERPRINT]


def _metrics(summary: Summary) -> list[str]:
    groups = [row.estimates for row in summary.per_class]
    groups += [row.estimates for row in (*summary.sites, *summary.subgroups)]
    names = [e.metric for e in summary.headline] + [e.metric for group in groups for e in group]
    # One entry per title: "auroc" and "auroc_macro" may be called the same.
    return list({word(name).title: name for name in reversed(list(dict.fromkeys(names)))}.values())[::-1]

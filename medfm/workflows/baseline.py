"""The untrained encoder beside the trained one: same network, same records, same folds.

A network that was never trained, under a linear probe, is a strong baseline for ECGs (Berger et
al., arXiv 2602.17531). A figure of a trained encoder says little until that one stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker
from medfm.embeddings.embeddings import Embeddings
from medfm.evaluation.evaluate import evaluate
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.paired import PairedDifference, compare_pair, match
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.summarise import summarise
from medfm.evaluation.summary import Estimate
from medfm.reporting.words import figure, word

if TYPE_CHECKING:
    from medfm.cohorts.cohort import Cohort
    from medfm.encoders.encoder import Encoder
    from medfm.reporting.result import Result

BaselineChoice = Literal["auto", "untrained", "none"]

SEED = 0
# Where the literature shows that an untrained network comes near trained ones.
_MODALITIES = ("ecg",)
ONLY_EMBEDDINGS = (
    "only embeddings were given, and the untrained network needs the records themselves: name the encoder (--encoder ID), "
    "or pass the embeddings of weights='random' as baseline="
)


def wanted(choice: BaselineChoice, modality: str) -> bool:
    """Whether the untrained encoder is to be evaluated as well."""
    return choice == "untrained" or (choice == "auto" and modality in _MODALITIES)


def untrained(
    encoder: Encoder | None,
    cohort: Cohort,
    choice: BaselineChoice,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: ProgressMaker | None = None,
) -> Embeddings | str | None:
    """What :func:`medfm.workflows.probe.probe` takes as `baseline`.

    Args:
        encoder: The trained encoder; ``None`` where only embeddings are at hand.
        cohort: The records.
        choice: As the user put it.
        settings: Of the embedding run.
        progress: Makes the progress displays.

    Returns:
        Embeddings of the same network with random weights (seed 0, cached as any other), or why
        there are none; ``None`` where nobody asked.

    Raises:
        ConfigError: The baseline was asked for and only embeddings are at hand.
    """
    from medfm.workflows.embed import embed

    bare = untrained_encoder(encoder, cohort, choice)
    if bare is None or isinstance(bare, str):
        return bare
    return embed(bare, cohort, progress=progress, **dict(settings or {}))


def untrained_encoder(encoder: Encoder | None, cohort: Cohort, choice: BaselineChoice) -> Encoder | str | None:
    """The network of `encoder` with random weights, or why there is none; as :func:`untrained`.

    Raises:
        ConfigError: The baseline was asked for and only embeddings are at hand.
    """
    from medfm.encoders.load import RANDOM, load_encoder

    if not wanted(choice, cohort.modality):
        return "it was switched off" if choice == "none" and wanted("auto", cohort.modality) else None
    if encoder is None:
        if choice == "untrained":
            raise ConfigError(
                "The untrained baseline needs the encoder.",
                where="--baseline untrained",
                expected="--encoder ID",
                fix="name the encoder instead of --embeddings, or leave out --baseline",
            )
        return ONLY_EMBEDDINGS
    reason = _no_other_self(encoder.weights_kind)
    if reason:
        return reason
    return load_encoder(
        encoder.card.path, weights=RANDOM, device=str(encoder.device), seed=SEED, variant=encoder.variant
    )


def _no_other_self(weights_kind: str) -> str:
    if weights_kind == "random":
        return "these weights are untrained themselves"
    return "the encoder is a fixed formula and has no weights" if weights_kind == "no weights" else ""


def with_baseline(
    result: Result,
    cohort: Cohort,
    baseline: Embeddings | str | None,
    *,
    device: str | None = None,
    progress: ProgressMaker | None = None,
) -> Result:
    """`result` with the key ``untrained`` in its extras.

    The same protocol on the same folds is run on the untrained vectors; differences are trained
    minus untrained under the same resampled patients. Where there is no baseline the entry says
    why; without a reason and outside the modalities that need it the result stays as it is.

    Args:
        result: Of the trained encoder.
        cohort: The records it was computed on.
        baseline: Embeddings of the untrained network, or why there are none.
        device: Torch device of the solvers.
        progress: Makes the progress displays.
    """
    if baseline is None and not wanted("auto", cohort.modality):
        return result
    own = _no_other_self(str(result.provenance.get("weights_kind", "")))
    if not isinstance(baseline, Embeddings):
        return without_baseline(result, own or baseline or ONLY_EMBEDDINGS)
    if own:
        return without_baseline(result, own)
    config = result.config
    done = evaluate(
        baseline,
        cohort,
        config["target"],
        result.protocol,
        task=config["task"],
        positive=config["positive"],
        device=device,
        progress=progress,
    )
    return beside(result, done.predictions, baseline.provenance.get("fingerprint"))


def without_baseline(result: Result, reason: str) -> Result:
    """`result`, whose report says why no untrained encoder stands beside this one."""
    return _added(result, {"why_not": reason})


def beside(result: Result, untrained_predictions: Predictions, fingerprint: str | None) -> Result:
    """`result` compared with what the untrained network predicted for the same records, variant by variant.

    Args:
        result: Of the trained encoder.
        untrained_predictions: By the same procedure, with the variants of `result`.
        fingerprint: Of the untrained encoder.
    """
    known = result.summary.patients_known
    plan = result.protocol.statistics.model_copy(update={"subgroups": ()})
    names = [e.metric for e in result.summary.headline]
    summary = summarise(
        untrained_predictions, plan, metrics=names, patients_known=known, probabilities=result.kind != "zero_shot"
    )
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for variant in result.predictions.variants:
        pair = match(
            untrained_predictions.of_variant(variant), result.predictions.of_variant(variant), patients_known=known
        )
        if pair.n_common < max(pair.n_first, pair.n_second):
            notes.append(f"{variant}: only the {pair.n_common} common records are compared.")
        for found in compare_pair(pair, metrics_for(names, result.summary.task), plan):
            rows.append(
                _row(variant, found, *(ends_of(s.estimate(found.metric, variant)) for s in (result.summary, summary)))
            )
    entry = {
        "seed": SEED,
        "fingerprint": fingerprint,
        "level": plan.level,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }
    return _added(result, {**entry, "sentence": _sentence(result, rows, plan.level)})


def _added(result: Result, entry: dict[str, Any]) -> Result:
    return replace(result, extras={**result.extras, "untrained": entry})


def ends_of(estimate: Estimate) -> dict[str, float | None]:
    """The figure and the ends of its interval as plain data."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _row(
    variant: str, found: PairedDifference, trained: dict[str, float | None], bare: dict[str, float | None]
) -> dict[str, Any]:
    return {
        "variant": variant,
        "metric": found.metric,
        "better": found.better,
        "trained": trained,
        "untrained": bare,
        "difference": {"value": found.difference, "low": found.low, "high": found.high},
        "p": found.p,
        "method": found.method,
        "note": found.note,
    }


def _sentence(result: Result, rows: list[dict[str, Any]], level: float) -> str:
    """Whether training helped, by the figure that the report's verdict is about."""
    from medfm.evaluation.predictions import MAIN
    from medfm.reporting.verdict import deciding

    decided = deciding(result)
    name = decided[0].metric if decided else result.summary.headline[0].metric
    row = next(r for r in rows if r["metric"] == name and r["variant"] in (MAIN, rows[0]["variant"]))
    title = word(name).title
    difference = row["difference"]
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None:
        return f"Whether training helped cannot be said: {title} is undefined here."
    sides = f"{figure(row['trained']['value'])} against {figure(row['untrained']['value'])}"
    if low is None or high is None:
        return f"The trained encoder differs from its untrained self by {value:+.3f} in {title} ({sides}), without interval."
    sign = 1 if row["better"] == "higher" else -1
    ends = f"{100 * level:g} % CI {low:+.3f} to {high:+.3f}; {sides}"
    if min(sign * low, sign * high) > 0:
        return f"The trained encoder is better than its untrained self by {abs(value):.3f} in {title} ({ends})."
    if max(sign * low, sign * high) < 0:
        return f"The trained encoder is worse than its untrained self by {abs(value):.3f} in {title} ({ends})."
    return f"The trained encoder is not shown to be better than its untrained self in {title}: {value:+.3f} ({ends})."

"""The verdict on a published figure from the result that was measured: its variant, its mean, what forbids trust."""

from __future__ import annotations

import statistics

from medfm.core.errors import EvaluationError, MedfmError
from medfm.encoders.weights import NOT_PUBLISHED
from medfm.evaluation.predictions import MAIN
from medfm.evaluation.protocol import KNN
from medfm.evaluation.similarity_config import Reconstruction
from medfm.evaluation.summary import Estimate
from medfm.reporting.reproduction import OFF_BY, SECOND_HAND, UNVERIFIED, Claim, Outcome
from medfm.reporting.result import Result


def judge(claim: Claim, result: Result, blocker: str = "") -> Outcome:
    """The verdict on one claim from the result that was measured.

    Where the protocol averages over folds as the paper does, that mean is compared; the pooled
    figure with its interval stands beside it. Otherwise the pooled figure is compared.

    Args:
        claim: The published figure.
        result: What was measured.
        blocker: A reason for which a near figure does not count as reproduced.
    """
    try:
        variant = variant_of(claim, result)
        estimate = _estimate(claim.metric, variant, result)
    except MedfmError as error:
        return Outcome(claim=claim, verdict="could not run", reason=one_line(error), result_id=result.id)
    measured, spread = estimate.value, None
    if result.protocol.paper_average == "fold_mean_std":
        measured, spread = _over_folds(claim.metric, variant, result)
    outcome = Outcome(
        claim=claim,
        verdict="not sourced",
        reason="no published value is known",
        measured=measured,
        spread=spread,
        estimate=estimate,
        result_id=result.id,
    )
    if measured is None:
        reason = f"{claim.metric} is undefined here" + (f": {estimate.note}" if estimate.note else "")
        return outcome.model_copy(update={"verdict": "could not run", "reason": reason})
    if claim.value is None:
        return outcome.model_copy(update={"reason": f"no published value is known{'; ' + blocker if blocker else ''}"})
    # A hair above the tolerance allows for the decimal figures having no exact binary form.
    near = abs(measured - claim.value) <= claim.tolerance + 1e-12
    if claim.sourcing == "unverified":
        # Nobody read the figure anywhere: meeting it would prove nothing, missing it neither.
        return outcome.model_copy(update={"reason": UNVERIFIED})
    if blocker:
        return outcome.model_copy(update={"verdict": "not reproduced", "reason": blocker})
    said = SECOND_HAND if claim.sourcing == "secondary" else ""
    if near:
        return outcome.model_copy(update={"verdict": "reproduced", "reason": said})
    reason = f"{OFF_BY} {measured - claim.value:+.3f}" + (f"; {said}" if said else "")
    return outcome.model_copy(update={"verdict": "not reproduced", "reason": reason})


def variant_of(claim: Claim, result: Result) -> str:
    """The variant of `result` that the claim is about.

    Raises:
        EvaluationError: The result has no such variant.
    """
    wanted = claim.variant
    if wanted in (None, "", MAIN):
        return MAIN
    known = result.predictions.variants
    if wanted in known:
        return str(wanted)
    method = result.protocol.method
    # The first k of a protocol and its largest training fraction are its headline.
    heads = {f"fraction={max(result.protocol.fractions):g}"}
    if isinstance(method, KNN):
        heads.add(f"k={method.k[0]}")
    if isinstance(method, Reconstruction):
        heads.add(method.headline)
    if wanted in heads:
        return MAIN
    raise EvaluationError(
        f"The result has no variant '{wanted}'.", where=result.protocol.id, expected="one of " + ", ".join(known)
    )


def _estimate(metric: str, variant: str, result: Result) -> Estimate:
    try:
        return result.summary.estimate(metric, variant)
    except KeyError:
        pass  # not among the protocol's headline metrics: compute it from the predictions
    from medfm.evaluation.similarity_summary import summarise_similarity
    from medfm.evaluation.summarise import summarise

    if result.predictions.task == "similarity":
        plan, known = result.protocol.statistics, result.summary.patients_known
        only = result.predictions.of_variant(variant)
        return summarise_similarity(only, plan, (metric,), patients_known=known).headline[0]
    summary = summarise(
        result.predictions.of_variant(variant),
        result.protocol.statistics.model_copy(update={"subgroups": ()}),
        metrics=(metric,),
        patients_known=result.summary.patients_known,
    )
    return summary.headline[0]


def _over_folds(metric: str, variant: str, result: Result) -> tuple[float | None, float | None]:
    rows = [row for row in result.summary.folds if row.variant == variant]
    if rows and metric not in rows[0].metrics:
        from medfm.evaluation.metrics import metrics_for
        from medfm.evaluation.summarise import fold_rows

        rows = list(fold_rows(result.predictions.of_variant(variant), metrics_for((metric,), result.summary.task)))
    values = [v for row in rows if (v := row.metrics.get(metric)) is not None]
    if len(values) != len(rows) or not values:
        return None, None
    if len(values) == 1:
        return values[0], None
    deviation = statistics.pstdev if result.protocol.paper_std == "population" else statistics.stdev
    return statistics.fmean(values), deviation(values)


def untrusted(result: Result) -> str:
    """Why figures of this result can never count as a reproduction."""
    if str(result.provenance.get("weights_note", "")).endswith(NOT_PUBLISHED):
        return "the weights are not the published file: their SHA-256 differs from the card's"
    if str(result.provenance.get("weights_kind")) == "random":
        return "the weights are untrained"
    if result.provenance.get("synthetic"):
        return "the data are synthetic"
    failures = result.provenance.get("failures") or []
    if failures:
        return f"{len(failures)} records could not be read"
    if (result.extras.get("zero_shot") or {}).get("stand_in"):
        return "the prompts are not the published ones (name the authors' file with --prompt-file)"
    return ""


def one_line(error: MedfmError) -> str:
    """What is wrong, where and what to do, without the lines of the full message."""
    text = " ".join(str(error.what).split()).rstrip(".")
    if error.where:
        text += f" ({' '.join(error.where.split())})"
    return f"{text}; to do: {' '.join(error.fix.split())}" if error.fix else text

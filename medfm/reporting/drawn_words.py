"""Plain words for figures of drawn scans, and the one line that says what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medfm.evaluation.similarity_metrics import spec

if TYPE_CHECKING:
    from medfm.reporting.result import Result

_MEANINGS = {
    "ssim": "How alike two volumes are in brightness, contrast and structure, window by window: 1 is equal. Empty background "
    "counts, so that a mean image already scores high.",
    "psnr": "The mean squared error on a logarithmic scale, in decibels; higher is better.",
    "mse": "Mean squared difference of the voxels, whose values run from 0 to 1; lower is better.",
}
_TURNED = (
    "A paired difference, record by record, turned so that above 0 means that codes are nearer than blended images."
)


def similarity_words(metric: str) -> tuple[str, str] | None:
    """Title and one sentence; ``None`` for a metric of another kind."""
    parts = spec(metric)
    if parts is None:
        return None
    return parts.title, _TURNED if parts.is_gain else _MEANINGS.get(parts.figure.partition("_w")[0], "")


def drawn_verdict(result: Result) -> str:
    """Whether drawn scans are nearer than the mean image, or drawn visits nearer than blended images."""
    if result.kind == "interpolation":
        names = {e.metric: e for e in result.summary.headline}
        found = next(
            (names[n] for n in ("scan_gain_mse", "scan_gain_ssim", "gain_mse", "gain_ssim") if n in names), None
        )
        if found is None:
            return "Compared with the autoencoder's version of the true visit alone; blending images was not looked at."
        against = "scan" if found.metric.startswith("scan_") else "autoencoder's version of it"
        return _sentence(
            {"value": found.value, "low": found.low, "high": found.high},
            "Visits drawn from codes",
            "linear blending of the two images",
            f"{'MSE' if found.metric.endswith('mse') else 'SSIM'}, against the {against}",
        )
    over = result.extras.get("over_mean_image")
    if not isinstance(over, Mapping):
        return "Nothing to hold the drawn scans against: there are no training records for a mean image."
    return _sentence(over, "Drawn scans", "the mean training image", "MSE")


def _sentence(gain: Mapping[str, Any], what: str, other: str, figure: str) -> str:
    """From a gain, above 0 where `what` is nearer."""
    if gain.get("value") is None:
        return f"{what} could not be held against {other}."
    if gain.get("low") is None or gain.get("high") is None:
        return f"No interval could be had, so {what[0].lower()}{what[1:]} cannot be told from {other}."
    text = f"({figure}: {_signed(gain['value'])}, {_signed(gain['low'])} to {_signed(gain['high'])})"
    if gain["low"] > 0:
        return f"{what} are nearer to the truth than {other} {text}."
    if gain["high"] < 0:
        return f"{what} are farther from the truth than {other} {text}."
    return f"{what} are not shown to be nearer or farther than {other} {text}."


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", "−")

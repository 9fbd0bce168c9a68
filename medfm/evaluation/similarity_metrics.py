"""The columns of predictions that hold how alike two volumes are, and the metrics that are means of them.

A figure is ``ssim`` (of the protocol's first window), ``ssim_wN`` (window of N voxels), ``psnr`` or
``mse``. An interpolated visit has several, told apart by what stands before the figure:

=====================  ==================================================================
(nothing)              drawn volume against the autoencoder's version of the true one
``scan_``              against the true scan itself
``blend_``             linear blend of the two scans, in place of the drawn volume
``blend_decoded_``     linear blend of the autoencoder's versions of the two scans
``gain_``              drawn volume against ``blend_``, above 0 where it is better
``gain_decoded_``      the same against ``blend_decoded_``
=====================  ==================================================================

``scan_`` comes first: ``scan_gain_mse`` is the gain in mean square error against the true scan.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from medfm.core.errors import EvaluationError
from medfm.evaluation.volume_similarity import mean_square_error, ssim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medfm.evaluation.metrics_outcomes import Weighted

_NAME = re.compile(r"(scan_)?(blend_decoded_|blend_|gain_decoded_|gain_)?(ssim(?:_w[1-9]\d*)?|psnr|mse|lpips)")
_FIGURES = {"ssim": "SSIM", "psnr": "PSNR (dB)", "mse": "MSE", "lpips": "LPIPS"}
_WHAT = {
    "blend_": "blended scans",
    "blend_decoded_": "blended autoencoder versions",
    "gain_": "gain over blended scans",
    "gain_decoded_": "gain over blended autoencoder versions",
}
_LARGEST_PSNR = 120.0  # dB: of equal volumes it would be infinite


class Spec(NamedTuple):
    """A metric's name taken apart.

    Attributes:
        against_scan: Whether ``scan_`` stands before it.
        what: ``""``, ``"blend_"``, ``"blend_decoded_"``, ``"gain_"`` or ``"gain_decoded_"``.
        figure: ``"ssim"``, ``"ssim_w11"``, ``"psnr"``, ``"mse"``, ``"lpips"``.
    """

    against_scan: bool
    what: str
    figure: str

    @property
    def is_gain(self) -> bool:
        """Whether it is a paired difference."""
        return self.what.startswith("gain")

    @property
    def lower_is_better(self) -> bool:
        """For errors; gains are turned so that higher is better."""
        return self.figure in ("mse", "lpips") and not self.is_gain

    @property
    def title(self) -> str:
        """For people, such as ``"MSE, gain over blended scans, against the scan"``."""
        base, _, window = self.figure.partition("_w")
        parts = [_FIGURES[base] + (f" (window {window})" if window else "")]
        parts += [_WHAT[self.what]] if self.what else []
        return ", ".join([*parts, *(["against the scan"] if self.against_scan else [])])

    @property
    def bounds(self) -> tuple[float, float]:
        """The range of possible values."""
        if self.is_gain or self.figure == "psnr":
            return -np.inf, np.inf
        return (0.0, np.inf) if self.figure in ("mse", "lpips") else (-1.0, 1.0)


def spec(name: str) -> Spec | None:
    """The parts of a metric's name; ``None`` for a name that is not of this kind."""
    found = _NAME.fullmatch(name)
    return Spec(bool(found[1]), found[2] or "", found[3]) if found else None


def figure_names(windows: Sequence[int]) -> tuple[str, ...]:
    """The figures of one comparison: SSIM of every window, PSNR, MSE."""
    return ("ssim", *(f"ssim_w{w}" for w in windows[1:]), "psnr", "mse")


def figures(drawn: Tensor, true: Tensor, windows: Sequence[int]) -> dict[str, np.ndarray]:
    """Every figure of two batches of volumes (n, 1, i, j, k) with values of a range of 1: name -> float64 (n,).

    Volumes are not clamped; PSNR ends at 120 dB, which equal volumes would exceed.

    Raises:
        ConfigError: Other shapes, or a window that does not fit.
    """
    drawn, true = drawn.float().cpu(), true.float().cpu()
    errors = mean_square_error(drawn, true).double().numpy()
    made = {}
    for name, window in zip(figure_names(windows), windows, strict=False):
        made[name] = ssim(drawn, true, window=window).double().numpy()
    made["psnr"] = np.minimum(-10 * np.log10(np.maximum(errors, 1e-30)), _LARGEST_PSNR)
    made["mse"] = errors
    return made


def gains(drawn: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By how much `drawn` is better than `other`, figure by figure, record by record."""
    return {name: (other[name] - drawn[name]) if name == "mse" else (drawn[name] - other[name]) for name in drawn}


def mean(column: str, view: Weighted) -> np.ndarray:
    """Weighted mean of a column: float64 (B,); NaN without weight.

    Raises:
        EvaluationError: The predictions have no such column.
    """
    known = view.outcomes.classes
    if column not in known:
        lpips = column.endswith("lpips")
        raise EvaluationError(
            "LPIPS is not computed: it needs a network trained on photographs, and was published on random slices."
            if lpips
            else f"The result has no figures '{column}'.",
            expected="one of " + ", ".join(known),
        )
    values = view.outcomes.scores[:, known.index(column)]
    return np.asarray(np.divide(view.sums(values), view.total, out=np.full(view.count, np.nan), where=view.total > 0))


def blended(first: Tensor, last: Tensor, share: float) -> Tensor:
    """(1 - share) first + share last, voxel by voxel."""
    return torch.lerp(first.float(), last.float(), share)

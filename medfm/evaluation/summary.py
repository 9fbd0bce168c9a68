"""The statistics of one evaluation as plain data: what ``result.json`` holds and reports show.

Lists of floats may hold ``None`` where a value is undefined; nothing here is ever NaN.
"""

from __future__ import annotations

from pydantic import Field

from medfm.core.config import StrictConfig
from medfm.evaluation.predictions import MAIN, TaskKind


class Estimate(StrictConfig):
    """A figure with its interval.

    ``method`` says how the interval came about, such as ``"patient-clustered bootstrap, B=1000"``
    or ``"DeLong (logit)"``; ``low`` and ``high`` are ``None`` where none could be had, and
    ``note`` then says why.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    method: str = ""
    n_records: int = 0
    n_patients: int = 0
    variant: str = MAIN
    note: str = ""


class ClassRow(StrictConfig):
    """Figures of one class (one-vs-rest) or one label."""

    name: str
    n_records: int
    n_patients: int
    estimates: tuple[Estimate, ...] = ()


class GroupRow(StrictConfig):
    """Figures of one subgroup or site; suppressed when its cell is below the minimum."""

    column: str
    value: str
    n_records: int | None
    n_patients: int | None
    suppressed: bool = False
    estimates: tuple[Estimate, ...] = ()


class GroupGap(StrictConfig):
    """Largest difference between the shown groups of a column, for a binary task's decisions, and between which."""

    column: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    highest: str = ""
    lowest: str = ""


class Curve(StrictConfig):
    """A curve on a fixed grid with a pointwise band (ROC, PR, decision curve)."""

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


class ReliabilityBin(StrictConfig):
    """One bin of the reliability diagram; ``low``/``high`` bound the observed rate."""

    lower: float
    upper: float
    n: int
    mean_score: float | None
    observed: float | None
    low: float | None = None
    high: float | None = None


class Calibration(StrictConfig):
    """How well scores can be read as probabilities."""

    ece: Estimate
    mce: Estimate | None = None
    brier: Estimate
    slope: float | None = None
    intercept: float | None = None
    in_the_large: float | None = None
    slope_interval: tuple[float, float] | None = None
    intercept_interval: tuple[float, float] | None = None
    in_the_large_interval: tuple[float, float] | None = None
    bins: tuple[ReliabilityBin, ...] = ()
    note: str = ""


class FoldRow(StrictConfig):
    """Point metrics of one fold of one repeat of one variant, as papers average them."""

    variant: str
    repeat: int
    fold: int
    n_records: int
    metrics: dict[str, float | None]


class Summary(StrictConfig):
    """Everything computed from one :class:`Predictions`."""

    task: TaskKind
    target: str
    classes: tuple[str, ...] = ()
    n_records: int
    n_patients: int
    patients_known: bool = True
    headline: tuple[Estimate, ...]
    variants: tuple[Estimate, ...] = Field(default=(), description="the headline metrics of the other variants")
    folds: tuple[FoldRow, ...] = ()
    per_class: tuple[ClassRow, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = Field(default=(), description="rows truth, columns predicted")
    roc: tuple[Curve, ...] = ()
    pr: tuple[Curve, ...] = ()
    calibration: Calibration | None = None
    decision: tuple[Curve, ...] = Field(default=(), description="net benefit of model, treat-all, treat-none")
    sites: tuple[GroupRow, ...] = ()
    subgroups: tuple[GroupRow, ...] = ()
    gaps: tuple[GroupGap, ...] = Field(default=(), description="fairness gaps between sites and subgroups")
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know, such as too few patients")

    def estimate(self, metric: str, variant: str = MAIN) -> Estimate:
        """The headline estimate of `metric` for `variant`; KeyError when absent."""
        for found in (*self.headline, *self.variants):
            if found.metric == metric and found.variant == variant:
                return found
        raise KeyError(f"{metric} ({variant})")


class BatchEffect(StrictConfig):
    """How strongly the site (scanner, laboratory) shows in the embedding."""

    column: str
    sites: tuple[str, ...]
    balanced_accuracy: Estimate | None = Field(None, description="of predicting the site, grouped CV")
    chance: float
    null_low: float | None = Field(None, description="lower end of the accuracy with sites dealt out at random")
    null_high: float | None = Field(None, description="upper end of the same band")
    p: float | None = Field(None, description="permutation test of the accuracy, one-sided")
    knn_mixing: float | None = Field(None, description="1 = neighbours mix as by chance, 0 = sites apart")
    k: int = 0
    note: str = ""

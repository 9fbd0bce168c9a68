"""Distribution shift by shared classes: the mean AUROC over the target's classes that the source also has.

Nothing is trained or run again. Each class of a target result keeps its own AUROC; the mean over
those classes of the target that a source set shares is what MERL's tables 11 to 13 hold for the
pair. It says how a method does on *these classes of the target*, not how a model trained on the
source travels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from medfm.core.config import StrictConfig, build, read_yaml
from medfm.core.errors import EvaluationError
from medfm.core.names import unknown_name
from medfm.core.resources import data_folder
from medfm.evaluation.bootstrap import collect
from medfm.evaluation.metrics import metric
from medfm.evaluation.metrics_labels import mean_defined
from medfm.evaluation.metrics_outcomes import Weighted
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.statistics_estimates import Sample, estimate
from medfm.evaluation.summary import Estimate


class Domain(StrictConfig):
    """One data set with its classes."""

    title: str
    aliases: tuple[str, ...] = ()
    classes: tuple[str, ...] = Field(min_length=1)


class SharedClasses(StrictConfig):
    """Which classes of `target` belong to each class of `source`; read from the other side as well."""

    source: str
    target: str
    shared: dict[str, tuple[str, ...]]


class TransferMap(StrictConfig):
    """Shared classes of several data sets, versioned and cited."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*@[0-9]+$")
    title: str
    source: str = Field(min_length=1, description="where the table was read")
    sourcing: Literal["paper table", "secondary", "unverified", "own"]
    reviewed_by: str = Field("none", description="clinician who has read it")
    domains: dict[str, Domain]
    pairs: tuple[SharedClasses, ...]
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> TransferMap:
        seen = set()
        for pair in self.pairs:
            for side in (pair.source, pair.target):
                if side not in self.domains:
                    raise ValueError(f"pairs: '{side}' is not among the domains")
            if frozenset((pair.source, pair.target)) in seen or pair.source == pair.target:
                raise ValueError(f"pairs: {pair.source} and {pair.target} stand there twice")
            seen.add(frozenset((pair.source, pair.target)))
            own, other = self.domains[pair.source].classes, self.domains[pair.target].classes
            unknown = [c for c in pair.shared if c not in own]
            unknown += [c for classes in pair.shared.values() for c in classes if c not in other]
            if unknown:
                raise ValueError(f"pairs: {pair.source} and {pair.target} have no class '{unknown[0]}'")
        return self

    def shared(self, source: str, target: str) -> tuple[str, ...]:
        """Classes of `target` that `source` shares, in the target's order; empty where the pair is not listed."""
        wanted: set[str] = set()
        for pair in self.pairs:
            if (pair.source, pair.target) == (source, target):
                wanted |= {c for classes in pair.shared.values() for c in classes}
            elif (pair.source, pair.target) == (target, source):
                wanted |= {c for c, classes in pair.shared.items() if classes}
        return tuple(c for c in self.domains[target].classes if c in wanted)

    def domain_of(self, cohort: str, classes: tuple[str, ...]) -> str | None:
        """The domain of a result: by the cohort's name (labels after ``@`` aside), else by its set of classes."""
        name = cohort.partition("@")[0]
        for key, domain in self.domains.items():
            if name in (key, *domain.aliases) and set(classes) & set(domain.classes):
                return key
        equal = [key for key, domain in self.domains.items() if set(domain.classes) == set(classes)]
        return equal[0] if len(equal) == 1 else None


def transfer_folder() -> Path:
    """The folder of the shipped maps."""
    return data_folder("configs") / "transfer"


def list_transfer_maps() -> list[str]:
    """Ids of the shipped maps."""
    return sorted(path.stem for path in transfer_folder().glob("*.yaml"))


def load_transfer_map(name: str | Path) -> TransferMap:
    """The shipped map `name`, or the YAML file at that path.

    Raises:
        UnknownNameError: There is no such map.
        ConfigError: The file breaks the schema.
    """
    text = str(name)
    path = Path(text) if text.endswith((".yaml", ".yml")) else transfer_folder() / f"{text}.yaml"
    if not path.is_file():
        raise unknown_name("transfer map", text, list_transfer_maps())
    return build(TransferMap, read_yaml(path), where=str(path))


@dataclass(frozen=True)
class SharedMean:
    """A mean AUROC over some classes.

    Attributes:
        estimate: The mean with its interval.
        classes: What it is taken over, in the order of the result: name and AUROC, ``None`` where undefined.
        absent: Classes asked for that the result does not have.
    """

    estimate: Estimate
    classes: tuple[tuple[str, float | None], ...]
    absent: tuple[str, ...]


def shared_mean(
    predictions: Predictions, classes: tuple[str, ...], plan: StatisticsPlan, *, patients_known: bool = True
) -> SharedMean:
    """Mean one-vs-rest AUROC over `classes` with the interval of resampled patients.

    A class without positive or without negative records is left out of the mean, in every resample anew.

    Args:
        predictions: Of one variant; multilabel or multiclass.
        classes: Class names; those the predictions lack are listed in the result.
        plan: Level, resamples, seed.
        patients_known: Whether clusters are patients.

    Raises:
        EvaluationError: The task has no AUROC per class, or none of the classes is there.
    """
    if predictions.task not in ("multilabel", "multiclass"):
        raise EvaluationError(
            f"Shared classes are for several labels or classes, not for a {predictions.task} task.",
            expected="a multilabel or multiclass result",
        )
    absent = tuple(c for c in classes if c not in predictions.classes)
    rows = np.array([i for i, c in enumerate(predictions.classes) if c in classes], dtype=np.int64)
    if not len(rows):
        raise EvaluationError(
            "The result has none of the shared classes.",
            expected="classes such as " + ", ".join(classes[:8]),
            fix="evaluate the data set with the labels that the map names",
        )

    def mean(view: Weighted) -> np.ndarray:
        return mean_defined(np.stack([view.outcomes.rank_plan(int(c)).auroc(view.weights) for c in rows]))

    sample = Sample.of(predictions, plan, patients_known=patients_known)
    point = Weighted(sample.outcomes, np.ones((len(sample.outcomes), 1)))
    drawn = None
    if plan.resamples and sample.clusters.count > 1:
        drawn = collect(sample.outcomes, sample.clusters, {"mean": mean}, resamples=plan.resamples, seed=plan.seed)[
            "mean"
        ]
    own = metric("auroc_macro" if predictions.task == "multilabel" else "auroc_ovr_macro", predictions.task)
    each = [float(sample.outcomes.rank_plan(int(c)).auroc(point.weights)[0]) for c in rows]
    named = zip((predictions.classes[c] for c in rows), each, strict=True)
    found = estimate(sample, replace(own, compute=mean), float(mean(point)[0]), drawn)
    return SharedMean(found, tuple((name, None if np.isnan(v) else v) for name, v in named), absent)

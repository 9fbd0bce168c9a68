"""Protocols: an evaluation procedure down to solver settings, versioned, as YAML.

``dinobloom-linear@1`` names the file ``configs/protocols/dinobloom-linear@1.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from medfm.core.config import StrictConfig, build, read_yaml
from medfm.core.errors import ConfigError
from medfm.core.names import unknown_name
from medfm.core.resources import data_folder
from medfm.evaluation.protocol_adapters import AdapterMethod, FewShot
from medfm.evaluation.protocol_concepts import ConceptProbe
from medfm.evaluation.protocol_finetune import FineTune
from medfm.evaluation.protocol_gradient import GradientProbe
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.protocol_zero_shot import ZeroShot as ZeroShot
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.similarity_config import Interpolation, Reconstruction
from medfm.evaluation.survival_config import Survival


class Selection(StrictConfig):
    """How the regularisation strength C (or ridge penalty) is chosen; never on test data."""

    rule: Literal["fixed", "dim_times_classes_over_100", "inner_cv", "validation"] = Field(
        "inner_cv", description="fixed value, C = D x K / 100, inner cross-validation, or the cohort's val split"
    )
    value: float | None = Field(None, description="C for rule 'fixed'", gt=0)
    grid: tuple[float, ...] = Field(
        tuple(10.0**e for e in range(-4, 5)), description="C values tried by inner_cv and validation"
    )
    folds: int = Field(5, ge=2, description="inner folds, grouped by patient and stratified")
    metric: str = Field("log_loss", description="what selection optimises: log_loss, balanced_accuracy, auroc, r2")


class LinearProbe(StrictConfig):
    """L2 logistic regression (ridge for continuous targets) on frozen embeddings."""

    kind: Literal["linear_probe"] = "linear_probe"
    selection: Selection = Selection()
    class_weight: Literal["none", "balanced"] = "none"
    standardise: bool = Field(True, description="z-score each dimension with training statistics")
    multi_class: Literal["multinomial", "one_vs_rest"] = "multinomial"
    solver: Literal["batched", "sklearn"] = Field(
        "batched", description="ours, or scikit-learn L-BFGS as in the papers"
    )
    max_iter: int = Field(1000, ge=1)
    tol: float | None = Field(None, gt=0, description="scikit-learn's tolerance; the batched solver's own when null")


class KNN(StrictConfig):
    """k nearest neighbours: scikit-learn's uniform vote, or DINOv2's softmax-weighted one."""

    kind: Literal["knn"] = "knn"
    k: tuple[int, ...] = (20,)
    vote: Literal["uniform", "dinov2"] = "uniform"
    metric: Literal["euclidean", "cosine"] = "euclidean"
    temperature: float = Field(0.07, gt=0, description="of the DINOv2 vote")
    standardise: bool = False


class MIL(StrictConfig):
    """Multiple-instance learning: one prediction per patient from the bag of its cells."""

    kind: Literal["mil"] = "mil"
    pooling: Literal["mean", "gated_attention", "classwise_attention"] = "gated_attention"
    hidden: int = Field(128, ge=1)
    classifier_hidden: int = Field(64, ge=1, description="of the class-wise heads")
    optimiser: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = Field(0.0, ge=0)
    epochs: int = Field(150, ge=1)
    patience: int = Field(20, ge=1, description="epochs without a better validation loss before stopping")
    schedule: Literal["cosine_per_epoch", "cosine_per_bag"] = "cosine_per_epoch"
    standardise: bool = False


class Scheme(StrictConfig):
    """Which records train and which test."""

    kind: Literal[
        "split", "kfold", "split_or_kfold", "split_with_inner_kfold", "leave_one_site_out", "balanced_kfold"
    ] = Field(
        "split",
        description="the cohort's train/test; k folds over all; the split where there is one, else k folds; "
        "train/val folds inside train, each tested on test; every site tested by the others; or BPDneo's test folds of "
        "equally many positive and negative patients",
    )
    folds: int = Field(5, ge=2)
    shuffle: bool = True
    stratify: bool = True
    group_by_patient: bool = True
    balance_sites: bool = Field(
        False, description="stratified folds hold the same share of every site, where sites are named"
    )
    repeats: int = Field(1, ge=1)
    seed: int = 0
    draw: Literal["generator", "published"] = Field(
        "generator",
        description="of balanced_kfold: by seed, patients in the order of their ids; or as BPDneo's program, by numpy's "
        "legacy RandomState(100 + seed + run), patients in the order of their files' paths",
    )

    @model_validator(mode="after")
    def _drawn(self) -> Scheme:
        if self.draw == "published" and self.kind != "balanced_kfold":
            raise ValueError(
                "draw: published is for kind: balanced_kfold alone; other kinds take scheme.draw=generator"
            )
        if self.kind == "balanced_kfold" and not 0 <= self.seed < 2**31:
            raise ValueError("the seed of balanced folds is 0 or more, below 2^31")
        return self


class StatisticsPlan(StrictConfig):
    """Intervals and tables."""

    level: float = Field(0.95, gt=0, lt=1)
    resamples: int = Field(1000, ge=0)
    seed: int = 0
    intervals: Literal["score", "resampled"] = Field(
        "score",
        description="score: by formula where one holds in small samples; resampled: DeLong on the logit scale, else percentiles",
    )
    decision_range: tuple[float, float] = Field(
        (0.01, 0.99), description="threshold probabilities at which somebody would act: the decision curve shows these"
    )
    minimum_cell: int = Field(10, ge=1, description="smallest subgroup whose figures are shown")
    subgroups: tuple[str, ...] = Field(
        (),
        description="cohort columns, or columns joined by * for their intersections (sex*age); age is cut into bands",
    )

    @field_validator("decision_range")
    @classmethod
    def _rising(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not 0.01 <= ends[0] < ends[1] <= 0.99:
            raise ValueError(f"{list(ends)} are not two rising thresholds from 0.01 to 0.99")
        return ends

    @field_validator("subgroups")
    @classmethod
    def _named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            parts = columns_of(name)
            if not all(parts) or len(set(parts)) < len(parts):
                raise ValueError(f"'{name}' is neither a column nor different columns joined by *")
        return names

    @property
    def subgroup_columns(self) -> tuple[str, ...]:
        """Every cohort column that the subgroups need, once."""
        return tuple(dict.fromkeys(c for name in self.subgroups for c in columns_of(name)))


def columns_of(group: str) -> list[str]:
    """The columns of a subgroup's name: ``["sex", "age"]`` of ``"sex*age"``."""
    return [part.strip() for part in group.split("*")]


class Protocol(StrictConfig):
    """One evaluation procedure. `id` is ``name@version``."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*@[0-9]+$")
    title: str
    source: str = Field("", description="paper section and code the procedure follows")
    method: Annotated[
        LinearProbe
        | GradientProbe
        | ConceptProbe
        | KNN
        | MIL
        | ZeroShot
        | Retrieval
        | Survival
        | Reconstruction
        | Interpolation
        | FineTune
        | NestedFineTune
        | AdapterMethod,
        Field(discriminator="kind"),
    ]
    scheme: Scheme = Scheme()
    few_shot: FewShot | None = Field(None, description="k shots per class (medfm fewshot); null: all training records")
    fractions: tuple[float, ...] = Field((1.0,), description="shares of the training patients, in (0, 1]")
    fraction_repeats: int = Field(5, ge=1, description="draws for each fraction below 1")
    fraction_draw: Literal["by_patient", "merl"] = Field(
        "by_patient",
        description="nested, stratified, by patient; or scikit-learn's train_test_split by record, as MERL published",
    )
    metrics: tuple[str, ...] = Field((), description="headline metrics; the task's default when empty")
    paper_average: Literal["none", "fold_mean_std"] = Field(
        "none", description="also give the paper's mean and standard deviation over folds"
    )
    paper_std: Literal["population", "sample"] = Field(
        "population", description="divisor of that deviation: n (numpy's default) or n - 1 (pandas')"
    )
    paper_undefined: Literal["skip", "zero"] = Field(
        "skip", description="a figure undefined in a fold: left out of that mean, or 0 in it, as torchmetrics counts it"
    )
    statistics: StatisticsPlan = StatisticsPlan()
    deviations: tuple[str, ...] = Field(
        (), description="where this differs from the source, or the source from good practice"
    )


def protocol_folder() -> Path:
    """The folder of the shipped protocol files."""
    return data_folder("configs") / "protocols"


def list_protocols() -> list[str]:
    """Ids of the shipped protocols."""
    return sorted(path.stem for path in protocol_folder().glob("*.yaml"))


def load_protocol(name: str, *, overrides: tuple[str, ...] = ()) -> Protocol:
    """The shipped protocol `name`, or the one in the YAML file at that path.

    A result's ``config.yaml``, which holds its protocol under ``protocol``, is such a file too.

    Raises:
        UnknownNameError: No such protocol.
        ConfigError: The file breaks the schema.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else protocol_folder() / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("protocol", name, list_protocols())
    values = read_yaml(path)
    if isinstance(values, dict) and isinstance(values.get("protocol"), dict):
        values = values["protocol"]
    return build(Protocol, values, where=str(path), overrides=overrides)


def protocol_of(protocol: str | Protocol, overrides: Sequence[str] = ()) -> Protocol:
    """`protocol` itself, or the one of that name or file, with ``KEY=VALUE`` settings on top.

    Raises:
        UnknownNameError, ConfigError: As of :func:`load_protocol`.
    """
    if isinstance(protocol, str):
        return load_protocol(protocol, overrides=tuple(overrides))
    if overrides:
        return build(Protocol, protocol.to_dict(), where=protocol.id, overrides=tuple(overrides))
    return protocol


def other_method(plan: Protocol, wanted: str, **advice: str) -> ConfigError:
    """The error of a protocol that is of another method than `wanted`; `advice` as of ``ConfigError``."""
    return ConfigError(f"The protocol '{plan.id}' is of the method '{plan.method.kind}', not '{wanted}'.", **advice)

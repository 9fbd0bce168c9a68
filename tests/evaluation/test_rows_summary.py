"""What the summaries of survival, retrieval and similarity share, against its parts taken one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import EvaluationError
from medfm.evaluation.groups import estimates_of, group_rows
from medfm.evaluation.metrics import metrics_for
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan
from medfm.evaluation.rows_summary import summarise_rows
from medfm.evaluation.similarity_summary import summarise_similarity
from medfm.evaluation.statistics_estimates import Sample

NAMES = ("ssim", "mse")
METRICS = metrics_for(NAMES, "similarity")
PLAN = StatisticsPlan(resamples=20, minimum_cell=2)


def drawn(n: int = 12, variant: str = "main", **columns: object) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "site": None,
            "variant": variant,
            "repeat": 0,
            "fold": 0,
            "ssim": np.linspace(0.5, 0.9, n),
            "mse": np.linspace(0.1, 0.3, n),
            **columns,
        }
    )


def predictions(*parts: pd.DataFrame) -> Predictions:
    return Predictions(pd.concat(parts, ignore_index=True), "similarity", NAMES, "again")


def summary(found: Predictions, plan: StatisticsPlan = PLAN, **more: Any) -> Any:
    return summarise_rows(found, plan, METRICS, METRICS[:1], **more)


def test_figures_are_those_of_the_sample() -> None:
    found = predictions(drawn())
    made = summary(found)
    assert made.headline == estimates_of(Sample.of(found, PLAN), METRICS)
    assert made.task == "similarity" and made.target == "again" and (made.n_records, made.n_patients) == (12, 6)
    assert made.headline[0].value == pytest.approx(0.7) and not made.sites and not made.subgroups


def test_groups_are_told_by_the_shown_figures_alone() -> None:
    found = predictions(drawn(site=["a", "b"] * 6, sex=["F"] * 6 + ["M"] * 6, ward=["x"] * 12))
    plan = PLAN.model_copy(update={"subgroups": ("sex", "ward")})
    made = summary(found, plan)
    assert made.sites == group_rows(found, "site", METRICS[:1], plan)
    assert [(row.column, row.value) for row in made.subgroups] == [("sex", "F"), ("sex", "M"), ("ward", "x")]
    assert all([e.metric for e in row.estimates] == ["ssim"] for row in (*made.sites, *made.subgroups))


@pytest.mark.parametrize("site", [None, "a"])
def test_a_single_site_has_no_table(site: str | None) -> None:
    assert summary(predictions(drawn(site=site))).sites == ()


def test_an_unknown_subgroup_is_refused_before_any_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("figures come after the columns are known")

    monkeypatch.setattr("medfm.evaluation.rows_summary.Sample", type("Never", (), {"of": staticmethod(refuse)}))
    with pytest.raises(EvaluationError, match="no column 'ward'"):
        summary(predictions(drawn()), PLAN.model_copy(update={"subgroups": ("ward",)}))


def test_notes_of_the_statistics_come_before_what_the_method_says() -> None:
    found = predictions(drawn())
    own = summary(found, patients_known=False)
    assert own.notes and not own.patients_known and own.n_patients == 12
    assert summary(found, patients_known=False, said=("one", "two")).notes == (*own.notes, "one", "two")


def test_variants_are_added_beside_the_headline() -> None:
    both = predictions(drawn(), drawn(variant="blend", ssim=0.25))
    made = summarise_similarity(both, PLAN, NAMES, said=("said",))
    alone = summarise_rows(both.of_variant("main"), PLAN, METRICS, METRICS[:2], said=("said",))
    assert made.model_copy(update={"variants": ()}) == alone and alone.variants == ()
    assert [(e.variant, e.metric) for e in made.variants] == [("blend", "ssim"), ("blend", "mse")]
    assert made.variants[0].value == pytest.approx(0.25)

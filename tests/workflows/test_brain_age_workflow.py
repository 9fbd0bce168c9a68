"""``brain-age@1`` from embeddings to a result folder: errors with intervals, gaps per record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import medfm
from medfm.cohorts.cohort import Cohort
from medfm.core.errors import ConfigError
from medfm.embeddings.embeddings import Embeddings
from medfm.reporting.brain_age import gap_sentence

FEW = ("statistics.resamples=60", "scheme.folds=3", "statistics.subgroups=[sex]")


def subjects(n: int = 120) -> tuple[Embeddings, Cohort]:
    rng = np.random.default_rng(0)
    age = rng.uniform(50, 90, n)
    X = np.outer(age - 70, rng.normal(size=6)) / 10 + rng.normal(size=(n, 6))
    ids = [f"s{i}" for i in range(n)]
    table = pd.DataFrame(
        {
            "record_id": ids, "path": ids, "patient_id": [f"p{i // 2}" for i in range(n)], "site": None, "split": None,
            "age": age, "sex": ["F", "F", "M", "M"] * (n // 4),
        }
    )  # fmt: skip
    return Embeddings(X.astype(np.float32), tuple(ids)), Cohort(table, "blood_cell", Path())


def test_errors_gaps_and_the_way_back(tmp_path: Path) -> None:
    vectors, cohort = subjects()
    result = medfm.brain_age(vectors, cohort, overrides=FEW, allow=("F001",))
    assert [e.metric for e in result.summary.headline] == ["mae", "rmse", "r2", "pearson"]
    assert all(e.low is not None and e.low < e.value < e.high for e in result.summary.headline)  # type: ignore[operator]
    table = result.predictions.table
    np.testing.assert_allclose(table["gap"], table["predicted"] - table["truth"])
    mae = result.summary.estimate("mae").value
    assert mae == pytest.approx(table["gap"].abs().mean())  # of the uncorrected prediction
    found = result.extras["brain_age"]
    before, after = (abs(found[k]["correlation_with_age"]["value"]) for k in ("uncorrected", "corrected"))
    assert after < before and len(found["bias"]) == 3
    assert all(line["slope"] < 0 for line in found["bias"].values())
    assert set(found["corrected_gap_by"]["sex"]) == {"F", "M"}
    result.save(tmp_path / "out")
    again = medfm.load_result(tmp_path / "out")
    assert again.id == result.id and again.extras == result.extras
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Do brains look older than they are?" in page and "Corrected gap by sex" in page
    assert "corrected_gap_by" not in page, "no raw keys"
    assert gap_sentence(result) in page.replace("&#39;", "'") and gap_sentence(result).split(":")[0] in str(result)


def test_another_protocol_has_no_gap() -> None:
    vectors, cohort = subjects()
    with pytest.raises(ConfigError, match="gives no brain-age gap"):
        medfm.brain_age(vectors, cohort, protocol="linear-probe@1", overrides=FEW[:2], allow=("F001",))


def test_the_verb_adds_the_gaps(tmp_path: Path) -> None:
    from medfm.embeddings.export import save_embeddings
    from medfm.workflows.probe_table import probe_table

    vectors, cohort = subjects()
    for path in cohort.table["path"]:
        (tmp_path / f"{path}.png").write_bytes(path.encode())
    cohort.table.assign(path=cohort.table["path"] + ".png").to_csv(tmp_path / "labels.csv", index=False)
    save_embeddings(vectors, tmp_path / "codes.npz")
    run = probe_table(
        tmp_path / "labels.csv",
        embeddings=tmp_path / "codes.npz",
        target="age",
        task="regression",
        protocol="brain-age@1",
        overrides=FEW,
        cohort={"modality": "blood_cell"},
    )
    alone = medfm.brain_age(vectors, cohort, overrides=FEW, allow=("F001",))
    assert run.result.extras["brain_age"] == alone.extras["brain_age"]

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cohort_pictures import save

from medfm.cohorts.cohort import Cohort

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "blood_cell"


@pytest.fixture
def make_cohort(tmp_path: Path) -> Callable[..., Cohort]:
    """A cohort from columns; image files are painted unless files=False."""

    def make(files: bool = True, patients_known: bool = True, info: dict | None = None, **columns: list) -> Cohort:
        number = len(next(iter(columns.values())))
        paths = columns.pop("path", [f"img/{i:04d}.png" for i in range(number)])
        base = {
            "record_id": [f"r{i:04d}" for i in range(number)],
            "path": paths,
            "patient_id": [f"p{i:04d}" for i in range(number)],
            "site": [None] * number,
            "split": [None] * number,
        }
        table = pd.DataFrame({k: pd.Series(v, dtype=object) for k, v in base.items()})
        for name, values in columns.items():
            table[name] = pd.Series(values, dtype=object) if name in base else values
        if files:
            for i, path in enumerate(dict.fromkeys(paths)):
                if not (tmp_path / path).exists():
                    save(tmp_path / path, i)
        return Cohort(table, "blood_cell", tmp_path, patients_known=patients_known, info=info or {})

    return make


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared real data are not beside this repository")
    return SHARED

"""What a prompt and a notebook show: little, escaped, and never a patient."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from medfm.cohorts.cohort import Cohort
from medfm.embeddings.embeddings import Embeddings, Failure
from medfm.workflows.compare import compare

EVIL = "<img src=x onerror=alert(1)>&'\""
PLAIN = {"p", "strong", "table", "tbody", "tr", "th", "td", "pre"}


class Tags(HTMLParser):
    """Which elements and attributes a fragment has."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(fragment)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def cohort(name: str, tmp_path, *, sites: bool = True, known: bool = True) -> Cohort:
    table = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(40)],
            "path": [f"r{i}.png" for i in range(40)],
            "patient_id": [f"SECRET{i % 8}" for i in range(40)],
            "site": ["a" if i % 2 else "b" for i in range(40)] if sites else None,
            "split": None,
        }
    )
    return Cohort(table=table, modality="blood_cell", root=tmp_path, name=name, patients_known=known)


def embeddings(name: str) -> Embeddings:
    ids = tuple(f"SECRET{i}" for i in range(5000))
    return Embeddings(
        np.zeros((5000, 4), np.float32), ids, {"encoder": name, "weights_kind": "random"}, (Failure("x", "bad"),)
    )


@pytest.mark.parametrize("kind", ["result", "comparison", "cohort", "embeddings"])
def test_notebook_views_are_small_and_escaped(kind, make, tmp_path):
    thing = {
        "result": lambda: make(name=EVIL),
        "comparison": lambda: compare(make(name=EVIL), make(name="b"), resamples=20),
        "cohort": lambda: cohort(EVIL, tmp_path),
        "embeddings": lambda: embeddings(EVIL),
    }[kind]()
    view = thing._repr_html_()
    found = Tags(view)
    assert found.names <= PLAIN and found.attributes <= {"style"}
    assert "&lt;img" in view and len(view) < 8000
    assert "SECRET" not in view and "P001" not in view


def test_a_prompt_never_prints_tables_vectors_or_patients(make, tmp_path):
    assert repr(cohort("cells", tmp_path)) == "Cohort('cells', blood_cell, 40 records, 8 patients, 2 sites)"
    unknown = cohort("cells", tmp_path, sites=False, known=False)
    assert repr(unknown) == "Cohort('cells', blood_cell, 40 records, patients unknown)"
    assert repr(embeddings("tiny")) == "Embeddings(5000 records x 4, tiny, random, 1 unreadable)"
    result = make()
    assert repr(result) == f"Result('first probe', 120 records, id {result.id[:16]})"


def test_the_notebook_says_the_warnings_and_every_headline_figure(make):
    result = make()
    view = result._repr_html_()
    assert "Untrained weights" in view and "Synthetic data" in view
    for estimate in result.summary.headline:
        assert f"<td>{estimate.value:.3f}</td>" in view

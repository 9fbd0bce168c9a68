"""``docs/results.md`` names what is really in a result folder, and all of its top level."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "results.md").read_text(encoding="utf-8")


def fields(heading: str) -> set[str]:
    """The code words in the first column of the table below a heading."""
    part = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture
def folder(make, images, tmp_path):
    return make().save(tmp_path / "r", images=images)


def test_every_file_is_explained(folder):
    named = set(re.findall(r"^\| `([\w.]+)` \|", PAGE.split("## config.yaml")[0], re.MULTILINE))
    assert named == {path.name for path in folder.iterdir()}


def test_every_field_of_the_head_is_explained_and_exists(folder):
    head = json.loads((folder / "result.json").read_text())
    named = fields("result.json")
    tops = {name.split(".")[0] for name in named}
    # `predictions` and `embedding_map` describe the Parquet file; the columns are explained below.
    unexplained = set(head) - tops - {"predictions", "embedding_map"}
    assert not unexplained - {"summary", "extras"}
    summary = {name.split(".")[-1] for name in named if name.startswith("summary.")}
    summary |= {"per_class", "sites", "subgroups", "confusion", "roc", "pr", "decision", "calibration"} & named
    assert summary <= set(head["summary"])
    described = set(re.findall(r"`(\w+)`", PAGE.split("the main figures:")[1].split("|")[0]))
    assert described == set(head["summary"]["headline"][0]) - {"variant"}


def test_every_column_is_explained(folder):
    columns = set(pd.read_parquet(folder / "predictions.parquet").columns)
    named = fields("predictions.parquet")
    plain = {c for c in columns if not c.startswith("score:")}
    assert plain - {"sex"} <= named  # sex is a column of this cohort, asked for as a subgroup
    assert {c for c in named if ":" not in c} <= columns
    assert any(c.startswith("score:") for c in columns) and "score:CLASS" in named

"""The distribution-shift table from saved results, in Python and at the command line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from test_transfer import SHARED, labelled

import medfm
from medfm.cli.compare import command
from medfm.core.errors import EvaluationError, MedfmError
from medfm.evaluation.protocol import LinearProbe, Protocol, StatisticsPlan
from medfm.evaluation.summarise import summarise
from medfm.evaluation.transfer import load_transfer_map
from medfm.reporting.result import Result
from medfm.workflows.transfer import transfer_table

DOMAINS = load_transfer_map("merl@1").domains


def result(cohort: str, classes: tuple[str, ...], seed: int = 0, **changes) -> Result:
    predictions = labelled(classes, n=120, seed=seed)
    plan = StatisticsPlan(resamples=20)
    protocol = Protocol(id="zero@1", title="t", method=LinearProbe(), statistics=plan)
    summary = summarise(predictions, plan)
    about = {"encoder": "merl", "cohort": cohort, "weights_kind": "published"}
    return Result("zero_shot", protocol, summary, predictions, about, **changes)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    base = tmp_path_factory.mktemp("runs")
    return [
        str(result(f"{name}@published", domain.classes, i).save(base / name))
        for i, (name, domain) in enumerate(DOMAINS.items())
    ]


def test_six_pairs_from_three_results(folders):
    table = medfm.transfer_table(folders, "merl@1", resamples=30)
    titles = {domain.title: name for name, domain in DOMAINS.items()}
    pairs = {(titles[row.source], titles[row.target]): row for row in table.rows}
    assert set(pairs) == set(SHARED)
    for pair, row in pairs.items():
        assert [name for name, _ in row.mean.classes] == SHARED[pair].split()
        one = medfm.load_result(folders[list(DOMAINS).index(pair[1])])
        each = {c.name: {e.metric: e.value for e in c.estimates}["auroc"] for c in one.summary.per_class}
        assert row.mean.estimate.value == pytest.approx(np.mean([each[c] for c in SHARED[pair].split()]))
        assert row.mean.estimate.low < row.mean.estimate.value < row.mean.estimate.high
    # As the protocol implies: every class of the target is shared, so the pair is the plain figure.
    for pair in (("csn", "cpsc2018"), ("csn", "ptbxl-super")):
        assert pairs[pair].mean.estimate.value == pytest.approx(pairs[pair].all_classes.value)


def test_two_encoders_on_one_target_stand_in_two_rows():
    runs = [result("cpsc2018", DOMAINS["cpsc2018"].classes, s, name=f"model {s}") for s in (0, 1)]
    table = transfer_table(runs, resamples=0)
    assert [row.result for row in table.rows] == ["model 0", "model 0", "model 1", "model 1"]
    assert all(row.mean.estimate.low is None for row in table.rows)


def test_synthetic_records_are_stamped():
    real = result("csn", DOMAINS["csn"].classes)
    drawn = replace(real, provenance={**real.provenance, "synthetic": True})
    assert not any("synthetic" in note for note in medfm.transfer_table(real, "merl@1", resamples=5).notes)
    table = medfm.transfer_table(drawn, "merl@1", resamples=5)
    assert any("synthetic records" in note for note in table.notes) and "synthetic records" in " ".join(
        str(table).split()
    )


def test_a_part_of_the_labels_is_used_and_the_rest_named():
    part = result("csn@corrected", ("AFIB", "RBBB", "SR"))
    table = transfer_table(part, resamples=10)
    assert [c for c, _ in table.rows[1].mean.classes] == ["AFIB", "RBBB", "SR"]
    assert any("absent from" in note and "LBBB" in note for note in table.notes)


def test_what_cannot_be_averaged_is_refused(folders):
    with pytest.raises(EvaluationError, match="on no data set of the map"):
        transfer_table(result("own", ("cat", "dog")))
    with pytest.raises(EvaluationError, match="no predictions of the variant"):
        transfer_table(folders[0], variant="fraction=0.01")
    with pytest.raises(EvaluationError, match="no result"):
        transfer_table([])


def test_json_page_and_markdown_hold_the_same(folders, tmp_path):
    table = transfer_table(folders, resamples=20)
    place = table.save(tmp_path / "shift.json")
    saved = json.loads(place.read_text())
    assert saved == json.loads(json.dumps(table.to_dict()))
    page = (tmp_path / "shift.html").read_text()
    for written in (page, table.to_markdown(), str(table)):
        text = " ".join(written.split())
        for row in saved["rows"]:
            assert f"{row['mean']['value']:.3f}" in text
        assert "Nothing was trained" in text and "STDD (ST depression) stands under conduction disturbance" in text
    assert "<script" not in page and page.count("<tr>") == 7


def test_titles_from_results_are_escaped(tmp_path):
    bad = result("cpsc2018", DOMAINS["cpsc2018"].classes, name="<b>x</b>|y")
    table = transfer_table(bad, resamples=0)
    table.save(tmp_path / "t.json")
    assert "<b>x" not in (tmp_path / "t.html").read_text()
    assert "\\|y" in table.to_markdown()


def run(*arguments: str):
    found = CliRunner().invoke(command, list(arguments), standalone_mode=False)
    if found.exception is not None:
        raise found.exception
    return found.return_value, found.output


def test_the_verb(folders, tmp_path):
    code, text = run(*folders, "--transfer", "merl@1", "--resamples", "20", "--out", str(tmp_path / "s.json"))
    assert code == 0 and "PTB-XL super-class → CPSC2018" in text and (tmp_path / "s.html").exists()
    code, text = run(folders[1], "--transfer", "merl-corrected@1", "--resamples", "0", "--json")
    assert code == 0 and json.loads(text)["map_id"] == "merl-corrected@1"


def test_misuse_at_the_verb(folders):
    with pytest.raises(click.UsageError, match="OTHER"):
        run(folders[0])
    with pytest.raises(click.UsageError, match="do not go with it"):
        run(*folders, "--transfer", "merl@1", "--metric", "auroc_macro")
    with pytest.raises(MedfmError, match="transfer map"):
        run(*folders, "--transfer", "merl@2")

"""BPDneo's six times five folds, trained to the report; nothing is set aside where nothing is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from medfm.cli.main import cli
from medfm.core.config import build
from medfm.core.errors import ConfigError, EvaluationError
from medfm.core.resources import data_folder
from medfm.evaluation.nested import Fitted, Job, plan_folds, run_fold
from medfm.evaluation.protocol import Scheme, load_protocol
from medfm.evaluation.protocol_nested import NestedFineTune
from medfm.evaluation.target import Target
from medfm.workflows.nested import nested_plan

ALL = {"inner_folds": 0, "candidates": ["bpd-full@1"], "threshold": "half", "recalibration": "none", "final": "none"}


def method(**changes: Any) -> NestedFineTune:
    return build(NestedFineTune, {**ALL, **changes}, where="a test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published recipe with fewer epochs on synthetic radiographs, five folds, through the command line."""
    home = tmp_path_factory.mktemp("balanced")
    recipe = yaml.safe_load((data_folder("configs") / "finetune" / "bpd-progressive@1.yaml").read_text())
    for stage, epochs in zip(recipe["stages"], (1, 2), strict=True):
        stage["epochs"] = epochs
    (home / "short.yaml").write_text(yaml.safe_dump({**recipe, "name": "short"}))
    table = str(home / "chest" / "labels.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDFM_CACHE", str(home / "cache"))
        words = ["data", "synthesize", "chest_xray", "--out", str(home / "chest"), "--records", "30", "--size", "64"]
        assert CliRunner().invoke(cli, words).exit_code == 0
        frame = pd.read_csv(table, dtype={"patient_id": str})
        people = sorted(set(frame["patient_id"]))
        sick = {name: i % 5 in (0, 2) for i, name in enumerate(people)}
        frame["bpd"] = ["yes" if sick[name] else "no" for name in frame["patient_id"]]
        frame.drop(columns="split").to_csv(table, index=False)
        changes = [
            f"method.candidates=[{home / 'short.yaml'}]",
            "scheme.repeats=1",
            "scheme.folds=3",
            "statistics.resamples=20",
        ]
        words = ["finetune", table, "--modality", "chest_xray", "--encoder", "convirt-tiny", "--weights", "random"]
        words += ["--target", "bpd", "--positive", "yes", "--protocol", "bpd-folds@1", "--out", str(home / "run")]
        done = CliRunner().invoke(cli, [*words, "--device", "cpu", *[w for c in changes for w in ("--set", c)]])
    assert done.exit_code == 0, done.output + repr(done.exception)
    (home / "said.txt").write_text(done.output)
    return home


def test_every_fold_tests_as_many_positive_as_negative_patients_and_all_others_train(run: Path) -> None:
    result = json.loads((run / "run" / "result.json").read_text())
    seen = pd.read_parquet(run / "run" / "predictions.parquet")
    frame = pd.read_csv(run / "chest" / "labels.csv", dtype={"patient_id": str})
    folds = result["extras"]["nested"]["folds"]
    assert len(folds) == 3
    positives = set(frame.loc[frame["bpd"] == "yes", "patient_id"])
    tested: list[str] = []
    for fold in folds:
        own = seen[seen["fold"] == fold["fold"]]
        people = own["truth"].value_counts()
        assert people["yes"] == people["no"] and own["patient_id"].is_unique
        tested += own["patient_id"].tolist()
        # Everyone who is not tested trains with all records; of a tested patient the first file is tested.
        assert (fold["train"], fold["validation"]) == (int((~frame["patient_id"].isin(own["patient_id"])).sum()), 0)
        first = frame.sort_values("path").drop_duplicates("patient_id")
        assert set(own["record_id"]) < set(first["record_id"].astype(str)) and fold["test"] == len(own)
        assert fold["seed"] == 1001 + fold["fold"]
        assert fold["inner"] == [] and fold["threshold"] == 0.5 and fold["kept"][0]["epoch"] == 3
    assert len(tested) == len(set(tested)) == 2 * len(positives) and positives <= set(tested)
    beside = result["extras"]["nested"]["beside"]
    assert [entry["common"] for entry in beside] == [len(tested)]  # the probe is judged on the same records
    assert list(result["extras"]["paper_average"]["main"])[:3] == ["auroc", "f1", "ppv"]
    assert frame["patient_id"].nunique() > len(tested)  # negatives beyond that number train in every fold


def test_the_log_of_a_training_counts_all_records_of_the_others(run: Path) -> None:
    result = json.loads((run / "run" / "result.json").read_text())
    for fold in result["extras"]["nested"]["folds"]:
        rows = [
            json.loads(line)
            for line in (run / "run" / "training" / f"r0-f{fold['fold']}-c0-p0" / "log.jsonl").read_text().splitlines()
        ]
        assert [row["stage"] for row in rows] == ["probe", "tune", "tune"]
        # A single record left over of batches of eight is not used: BatchNorm cannot take it.
        assert all(row["records"] in (fold["train"], fold["train"] - 1) for row in rows)
        assert all(row.get("validation_loss") is None for row in rows)
        assert [k for k, n in rows[-1]["trainable"].items() if n] == ["layer2", "layer3", "layer4", "head"]


def test_the_report_says_that_the_prevalence_is_forced_and_draws_a_training(run: Path) -> None:
    page = (run / "run" / "report.html").read_text(encoding="utf-8")
    assert "the prevalence is forced to 50 %, where" in page and "Accuracy, F1, precision and predictive values" in page
    assert "Nothing was chosen inside" in page and "nothing: there is one recipe" in page
    assert "One of the trainings, epoch by epoch: outer fold 1, short" in page
    assert "records: train / test" in page and "of them choosing" not in page
    section = page.split('id="nested"')[1].split("</section>")[0]
    assert str(run) not in section and "short, epoch 3" in section  # a recipe file by its name, without its folder
    assert "prevalence is forced to 50 %" in " ".join((run / "said.txt").read_text().split())


def test_a_fold_without_inner_patients_is_scored_at_one_half() -> None:
    truth = Target("sick", "binary", ("no", "yes"), np.arange(40) % 2)
    patients = np.array([f"P{i:02d}" for i in range(40)], dtype=object)
    scheme = Scheme(kind="balanced_kfold", folds=5, repeats=6)
    jobs: list[Job] = []

    def fit(job: Job) -> Fitted:
        jobs.append(job)
        scores = np.linspace(0.1, 0.9, len(job.test))
        return Fitted(np.zeros((0, 2)), np.column_stack([1 - scores, scores]), {"epoch": 3}, None)

    found, notes = plan_folds(truth, patients, scheme, method())
    outcomes = [run_fold(outer, truth, patients, method(), fit) for outer in found]
    assert len(jobs) == 30 and len({job.name for job in jobs}) == 30 and "forced to 50 %, where 50 %" in notes[0]
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert len(job.validation) == 0 and sorted([*job.train, *job.test]) == list(range(40))
        assert outcome.threshold == 0.5 and outcome.chosen["candidate"] == "bpd-full@1" and outcome.sets is None
        assert outcome.chosen["recalibration"]["slope"] == 1 and outcome.chosen["validation"] == 0
        np.testing.assert_allclose(outcome.scores[:, 1], np.linspace(0.1, 0.9, len(job.test)))


def test_a_training_part_of_one_class_is_refused() -> None:
    truth = Target("sick", "binary", ("no", "yes"), np.array([1, 1, 0, 0, 0, 0]))
    patients = np.array(list("abcdef"), dtype=object)
    with pytest.raises(EvaluationError):
        plan_folds(truth, patients, Scheme(kind="kfold", folds=3), method())


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": ["bpd-full@1", "lora"]}, {"threshold": "youden"}, {"recalibration": "temperature"},
        {"final": "refit"}, {"final": "ensemble"}, {"inner_folds": 1}, {"inner_trained": 2}, {"inner_folds": -1},
    ],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_what_needs_inner_patients_is_refused_without_them(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        method(**changes)


def test_a_recipe_that_chooses_its_epoch_needs_inner_patients() -> None:
    with pytest.raises(ConfigError, match="'lp-ft' chooses its epoch") as found:
        nested_plan("bpd-folds@1", ["method.candidates=[lp-ft]"])
    assert "inner_folds=4" in str(found.value.fix)
    assert nested_plan("bpd-folds@1", ["method.candidates=[lp-ft]", "method.inner_folds=4"]).inside == 30


def test_the_protocol_trains_on_all_that_it_does_not_test_and_says_what_differs() -> None:
    plan = nested_plan("bpd-folds@1")
    assert not plan.method.chooses and "x all that is not tested" in str(plan)
    assert method(inner_folds=4, threshold="youden").chooses
    said = " ".join(load_protocol("bpd-folds@1").deviations)
    assert "sorted order of their paths" in said and "1000 + run + fold" in said and "set aside" not in said
    assert (plan.method.tested, plan.method.training_seed, plan.protocol.scheme.draw) == ("first", *["published"] * 2)

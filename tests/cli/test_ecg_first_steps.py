"""What a new user of ECGs runs into first: the modality nobody named, absent columns, ids that do not exist."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_zeroshot_verb import FAST, data, put_vocabulary  # noqa: F401  (data is a fixture)

import medfm
from medfm.cli.common import default_modality
from medfm.cli.main import main
from medfm.cohorts.checks.run import resolve_target
from medfm.cohorts.load import load_cohort
from medfm.encoders.registry import get_card
from medfm.workflows.before_evaluation import seen_in_training


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    return int(caught.value.code or 0)


@pytest.fixture
def tiny(data: Path) -> list[str]:  # noqa: F811
    put_vocabulary()
    return [str(data / "labels.csv"), "--encoder", str(data / "tiny-merl.md"), "--weights", "random", "--device", "cpu"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "--out", "OUT.npz"),
        ("probe", "--target", "label", *FAST[:4]),
        ("retrieve", "--query", "sinus rhythm"),
        ("zeroshot", "--target", "AFIB", *FAST[:4]),
    ],
    ids=lambda a: a[0],
)
def test_the_encoder_says_the_modality(arguments, tiny, tmp_path, capsys) -> None:
    verb, *rest = [a.replace("OUT", str(tmp_path / "out")) for a in arguments]
    assert run(verb, *tiny, *rest) == 0, capsys.readouterr().err


def test_the_yaml_and_the_option_come_before_the_encoder(data, tmp_path) -> None:  # noqa: F811
    assert default_modality("merl-resnet18") == "ecg" and default_modality("dinobloom-s") == "blood_cell"
    assert default_modality(None) == "blood_cell"
    table = pd.read_csv(data / "labels.csv")
    table["path"] = [f"{p.removesuffix('.hea')}.hea" for p in table["path"]]
    for name in {p.stem for p in data.glob("rec*")}:
        for end in (".hea", ".dat"):
            (tmp_path / f"{name}{end}").write_bytes((data / f"{name}{end}").read_bytes())
    table.to_csv(tmp_path / "t.csv", index=False)
    assert load_cohort(tmp_path / "t.csv", default_modality="ecg").modality == "ecg"
    assert load_cohort(tmp_path / "t.csv").modality == "blood_cell"
    (tmp_path / "t.yaml").write_text("modality: ecg\n")
    assert load_cohort(tmp_path / "t.csv", default_modality="blood_cell").modality == "ecg"
    assert load_cohort(tmp_path / "t.csv", "blood_cell", default_modality="ecg").modality == "blood_cell"


def test_reports_that_are_not_there(tiny, tmp_path, capsys) -> None:
    assert run("retrieve", *tiny) == 2
    error = capsys.readouterr().err
    assert "no column 'text'" in error and "--text COLUMN" in error and "--label COLUMN" in error
    assert run("pretrain", tiny[0], "--recipe", "merl-smoke", "--set", "split=all", "--out", str(tmp_path / "x")) == 2
    error = capsys.readouterr().err
    assert "no column 'text'" in error and "text.column=COLUMN" in error
    assert not (tmp_path / "x" / "encoder.safetensors").exists()


def test_missing_patients_say_what_to_do(data, tmp_path, capsys) -> None:  # noqa: F811
    table = pd.read_csv(data / "labels.csv")
    table["other"] = table["patient_id"]
    table.loc[3, "patient_id"] = None
    table.to_csv(data / "gaps.csv", index=False)
    assert run("data", "check", str(data / "gaps.csv"), "--modality", "ecg") == 2
    error = capsys.readouterr().err
    assert "1 of 24 rows have no patient_id (first: row 4)" in error and "--map patient_id=COLUMN" in error
    assert run("data", "check", str(data / "gaps.csv"), "--modality", "ecg", "--map", "patient_id=other") in (0, 1)


def test_held_out_sets_are_noseen_in_training() -> None:
    card = get_card("merl-resnet18")
    assert {"ptbxl", "cpsc2018", "csn"} <= {p.name for p in card.spec.training_data if p.status == "held out"}
    about = {"encoder": "merl-resnet18", "weights_kind": "published"}
    vectors = medfm.Embeddings(np.zeros((1, 2), dtype=np.float32), ("a",), about)
    assert seen_in_training(vectors) == ("mimic-iv-ecg",)
    assert seen_in_training(replace(vectors, provenance={**about, "weights_kind": "random"})) == ()


def test_the_name_of_a_label_set_is_its_columns_only_where_these_are_the_target(data) -> None:  # noqa: F811
    cohort = load_cohort(data / "labels.csv", "ecg")
    flags = replace(cohort, info={"target": ["AFIB", "AFLT"], "label_set": "ptbxl-rhythm"})
    assert resolve_target(flags, "ptbxl-rhythm") == ["AFIB", "AFLT"]
    single = replace(cohort, info={"target": "label", "label_set": "ptbxl-rhythm"})
    assert resolve_target(single, "ptbxl-rhythm") == "ptbxl-rhythm", "not silently another column"
    assert resolve_target(single, None) == "label"

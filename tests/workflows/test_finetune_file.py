"""A fine-tuning run as a YAML file: what it takes, where its paths lead, what it is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.config import parse_overrides
from medfm.core.errors import ConfigError
from medfm.core.resources import data_folder
from medfm.workflows.finetune_file import FinetuneFile, is_file_of_run, load_run, with_changes, write_run

SETTINGS = {"scheme": {"folds": 3}, "method": {"candidates": ["linear-probe", "own/mine.yaml"], "final": "none"}}


def written(place: Path, text: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_paths_are_relative_to_the_file_and_names_stay_names(here: Path) -> None:
    text = {
        "table": "labels.csv", "root": "../images", "encoder": "merl-tiny", "weights": "random", "recipe": None,
        "protocol": "nested-cv@1", "settings": SETTINGS, "beside": ["merl-resnet18", "./other"], "out": "../runs/a",
    }  # fmt: skip
    run = load_run(written(here / "study" / "run.yaml", yaml.safe_dump(text)).relative_to(here))
    assert run.table == "study/labels.csv" and run.root == "images" and run.out == "runs/a"
    assert (run.encoder, run.weights, run.protocol) == ("merl-tiny", "random", "nested-cv@1")
    assert run.beside == ("merl-resnet18", "study/other")
    assert run.settings["method"]["candidates"] == ["linear-probe", "study/own/mine.yaml"]


def test_a_folder_beside_the_file_is_an_encoder_only_if_it_holds_one(here: Path) -> None:
    file = written(here / "study" / "run.yaml", "table: a.csv\nencoder: tower\nweights: tower.pt\nrecipe: mine.yml\n")
    (here / "study" / "tower").mkdir()
    assert load_run(file).encoder == "tower"
    (here / "study" / "tower" / "card.md").write_text("")
    run = load_run(file)
    assert Path(str(run.encoder)) == here / "study" / "tower"
    assert (
        Path(str(run.weights)) == here / "study" / "tower.pt" and Path(str(run.recipe)) == here / "study" / "mine.yml"
    )


def test_absolute_paths_stay(here: Path) -> None:
    run = load_run(written(here / "a" / "run.yaml", f"table: {here / 'x.csv'}\nencoder: {here / 'e'}\n"))
    assert Path(run.table) == here / "x.csv" and run.encoder == str(here / "e")


def test_what_is_given_by_hand_wins_groups_key_by_key(here: Path) -> None:
    file = written(
        here / "run.yaml",
        "table: a.csv\nencoder: merl-tiny\nwhere: {task: x, split: [train, val]}\nbeside: [one, two]\n"
        "settings: {scheme.folds: 3, scheme: {seed: 1}, method: {final: none}}\n",
    )
    run = load_run(
        file,
        {"encoder": "other", "where": {"split": "test"}, "beside": ["three"], "settings": {"scheme": {"folds": 4}}},
    )
    assert run.encoder == "other" and run.where == {"task": "x", "split": "test"} and run.beside == ("three",)
    assert parse_overrides(run.overrides()) == {"scheme": {"folds": 4, "seed": 1}, "method": {"final": "none"}}


def test_numbers_are_words_of_a_table_and_yes_is_not(here: Path) -> None:
    file = written(
        here / "run.yaml", "table: a.csv\npositive: 1\nwhere: {grade: [0, 2.5], ward: 7}\nmap_class: {1: afib}\n"
    )
    run = load_run(file)
    assert run.positive == "1" and run.where == {"grade": ("0", "2.5"), "ward": "7"} and run.map_class == {"1": "afib"}
    for text in ("positive: yes", "where: {sick: no}", "where: {sick: [a, no]}"):
        with pytest.raises(ConfigError, match="write this word in quotes"):
            load_run(written(file, f"table: a.csv\n{text}\n"))


def test_one_target_or_several(here: Path) -> None:
    for text, asked in (("label", "label"), ("[a, b]", ["a", "b"]), ("null", None)):
        assert load_run(written(here / "run.yaml", f"table: a.csv\ntarget: {text}\n")).asked() == asked


values = st.recursive(
    st.integers(-5, 5) | st.floats(-1e3, 1e3, allow_nan=False) | st.booleans() | st.none() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
groups = st.recursive(
    st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), values, min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        st.from_regex(r"[a-z_]{1,6}", fullmatch=True), inner | values, min_size=1, max_size=3
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(groups)
def test_settings_survive_as_options(given_settings: dict[str, Any]) -> None:
    """What a file says in groups is what ``--set`` would have said, whatever the value."""
    run = FinetuneFile(table="a.csv", settings=given_settings)
    assert parse_overrides(run.overrides()) == given_settings


@pytest.mark.parametrize("folder", ["runs/a", "a/b/c", "."])
def test_the_file_that_a_run_writes_describes_the_same_run_from_anywhere(
    here: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "tower").mkdir()
    (here / "tower" / "card.md").write_text("")
    run = FinetuneFile(
        table="data/labels.csv", root=str(here / "images"), encoder="tower", weights="w.pt", where={"a": ("1", "2")},
        protocol="nested-cv@1", settings=SETTINGS, beside=("merl-tiny", "./tower"), out=folder, target=("x", "y"),
        map_class={"AF/AFL": "AF+AFL"}, label_set="cinc2021", name="a: b", drop_unlabelled=True,
    )  # fmt: skip
    (here / folder).mkdir(parents=True, exist_ok=True)
    write_run(run, Path(folder))
    text = (here / folder / "run.yaml").read_text()
    assert str(here) not in text.replace("../", "") and text.startswith("# Repeat it: medfm finetune run.yaml")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    found = load_run(Path("..") / folder / "run.yaml")
    for key in ("table", "root", "encoder", "weights", "out"):
        was, now = (here / str(getattr(run, key)), here / "elsewhere" / str(getattr(found, key)))
        assert os.path.normpath(was) == os.path.normpath(now), key
    assert found.beside == ("merl-tiny", "../tower") and found.settings["scheme"] == {"folds": 3}
    assert found.settings["method"]["candidates"] == ["linear-probe", "../own/mine.yaml"]
    for key in ("where", "target", "map_class", "label_set", "name", "drop_unlabelled", "protocol"):
        assert getattr(found, key) == getattr(run, key), key


def test_what_is_not_said_is_not_written(here: Path) -> None:
    write_run(FinetuneFile(table="a.csv", encoder="merl-tiny"), here)
    assert yaml.safe_load((here / "run.yaml").read_text()) == {"table": "a.csv", "encoder": "merl-tiny", "out": "."}


@pytest.mark.parametrize(
    ("text", "said", "fix"),
    [
        ("table: a.csv\nencodr: x\n", "did you mean 'encoder'", ""),
        ("encoder: merl-tiny\n", "table: this key is required", ""),
        ("table: a.csv\ntask: ternary\n", "task", ""),
        ("- a\n", "a group of keys was expected", ""),
        ("", "a group of keys was expected", ""),
        ("table: a.csv\ntable: b.csv\n", "given twice", ""),
        ("table: [", "not valid YAML", ""),
        ("table: run.csv\n", "describes the table run.csv itself", "another name"),
        ("target: age\nmodality: ecg\n", "describes the table beside it, run.csv", "medfm finetune"),
        ("cohort: {}\nrecipes: []\n", "settings of a result", "run.yaml"),
    ],
    ids=["key", "no table", "task", "list", "empty", "twice", "no YAML", "name", "cohort", "result"],
)
def test_what_is_wrong_is_said_with_its_place(here: Path, text: str, said: str, fix: str) -> None:
    (here / "run.csv").write_text("path\n")
    with pytest.raises(ConfigError, match=said) as found:
        load_run(written(here / "run.yaml", text))
    assert "run.yaml" in str(found.value.where) and fix in str(found.value.fix)


def test_recipes_and_protocols_are_told_which_option_takes_them() -> None:
    folder = data_folder("configs")
    for kind, option in (("finetune", "--recipe"), ("protocols", "--protocol")):
        for file in sorted((folder / kind).glob("*.yaml"))[:4]:
            with pytest.raises(ConfigError) as found:
                load_run(file)
            assert f"{option} {file}" in str(found.value.fix)


def test_a_missing_file_and_changes_that_are_wrong(here: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_run("none.yaml")
    with pytest.raises(ConfigError, match="task") as found:
        with_changes(FinetuneFile(table="a.csv"), {"task": "x"})
    assert found.value.where == "the command line"


@pytest.mark.parametrize(("name", "is_run"), [("a.yaml", True), ("A.YML", True), ("a.csv", False), ("yaml", False)])
def test_tables_are_no_yaml_files(name: str, is_run: bool) -> None:
    assert is_file_of_run(name) == is_run


def test_the_example_of_the_page_is_a_run_and_every_key_is_explained() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "finetune.md").read_text(encoding="utf-8")
    (block,) = (part.split("```")[0] for part in page.split("```yaml\n")[1:] if "table:" in part.split("```")[0])
    run = FinetuneFile(**yaml.safe_load(block))
    assert run.encoder and run.target and run.settings
    listed = page.split("## One file for a run")[1].split("\n## ")[0]
    for key in FinetuneFile.model_fields:
        assert f"`{key}`" in listed or f"\n{key}:" in listed, key

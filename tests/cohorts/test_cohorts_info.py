from pathlib import Path

import pytest

from medfm.cohorts.info import CohortInfo, info_path, load_info
from medfm.core.errors import ConfigError


def test_the_yaml_has_the_name_of_the_table() -> None:
    assert info_path(Path("a/labels.csv")) == Path("a/labels.yaml")
    assert info_path(Path("a/b.c.parquet")) == Path("a/b.c.yaml")


def test_no_yaml_means_nothing_is_known(tmp_path: Path) -> None:
    assert load_info(tmp_path / "labels.csv") == CohortInfo()
    assert CohortInfo().synthetic is False


def test_all_keys(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(
        """
name: a
modality: blood_cell
task: b
target: label
root: ..
columns: {patient_id: case}
label_map: {label: {"0": none, "1": some}}
units: {age: years}
licence: CC0
citation: c
source: d
adapter: acevedo@1
counts: {total: 3}
notes: [one, two]
label_set: csn
copies: each picture was turned
synthetic: true
"""
    )
    info = load_info(tmp_path / "t.csv")
    assert info.label_map == {"label": {"0": "none", "1": "some"}}
    assert info.synthetic
    assert set(info.model_dump(exclude_defaults=True)) == set(CohortInfo.model_fields)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("licenses: x", "did you mean 'licence'"),
        ("columns: [a]", "columns"),
        ("synthetic: perhaps", "synthetic"),
        ("- a\n- b", "group of keys"),
        ("name: a\nname: b", "given twice"),
        ("name: [a", "not valid YAML"),
    ],
)
def test_wrong_yaml(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_info(tmp_path / "t.csv")
    assert "t.yaml" in str(caught.value)


def test_a_multilabel_target_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("target: [1AVB, NORM]\nlabel_set: cpsc2018\n")
    info = load_info(tmp_path / "t.csv")
    assert (info.target, info.label_set) == (["1AVB", "NORM"], "cpsc2018")
    (tmp_path / "t.yaml").write_text("target: {a: b}\n")
    with pytest.raises(ConfigError):
        load_info(tmp_path / "t.csv")

"""Prompts in the words of a paper: names and templates of label sets, FLAIR's dictionary, its order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from small_knowledge import values

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompt_file import prompts_from_file
from medfm.knowledge.prompts import PromptSet, build_prompts, expert
from medfm.knowledge.published import as_published, flair_group, flair_prompts, published_names
from medfm.knowledge.schema import Knowledge

QUILT = (
    "a histopathology slide showing {}",
    "histopathology image of {}",
    "pathology tissue showing {}",
    "presence of {} tissue on image",
)


def with_set(**changes: object) -> Knowledge:
    content = values()
    content["label_sets"]["paper"] = {
        "title": "a paper's",
        "source": "here",
        "labels": {"C": "circle", "S": "square"},
        "names": {"C": "a round one"},
        "templates": ["look: {name}"],
        **changes,
    }
    return Knowledge.model_validate(content)


def texts(prompts: PromptSet, label: str) -> list[str]:
    entry = next(c for c in prompts.classes if c.label == label)
    return [p.text for group in entry.groups for p in group]


def test_names_and_templates_of_the_set_are_used() -> None:
    knowledge = with_set()
    assert published_names(knowledge, "paper") == {"circle": "a round one", "square": "square"}
    made = build_prompts(as_published(knowledge, "paper"), "paper", "templates@1")
    assert texts(made, "C") == ["look: a round one"] and texts(made, "S") == ["look: square"]
    own = build_prompts(knowledge, "paper", "templates@1")
    assert "look: a round one" not in own.texts()


def test_classes_outside_the_set_keep_their_names() -> None:
    knowledge = with_set()
    asked = as_published(knowledge, "paper")
    assert asked.entry("ellipse").name == knowledge.entry("ellipse").name
    assert asked.entry("circle").findings == knowledge.entry("circle").findings


def test_one_class_under_two_names_is_refused() -> None:
    knowledge = with_set(labels={"C": "circle", "D": "circle"}, names={"C": "round", "D": "rounder"})
    with pytest.raises(ConfigError, match="'round' and 'rounder'"):
        as_published(knowledge, "paper")


def test_unknown_set() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'paper'"):
        as_published(with_set(), "papers")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": {"X": "a"}}, "'X' has a published name but is no label"),
        ({"templates": ["no field"]}, "must hold exactly"),
        ({"templates": ["{name} {other}"]}, "must hold exactly"),
        ({"names": {"C": " "}}, "at least 1 character"),
    ],
)
def test_wrong_sets_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        with_set(**changes)


def test_a_class_without_a_source_is_an_error_where_sources_are_required() -> None:
    content = values()
    for entry in content["classes"]:
        entry["sources"] = [{"standard": "S", "section": "1"}]
    content["sources_required"] = True
    assert Knowledge.model_validate(content).sources_required
    content["classes"][1]["sources"] = []
    with pytest.raises(ValidationError, match=f"1 classes have no source: {content['classes'][1]['id']}"):
        Knowledge.model_validate(content)
    content["sources_required"] = False
    assert Knowledge.model_validate(content)


def test_expert_prompts_are_findings_and_the_name_in_every_template() -> None:
    entry = with_set().entry("circle")
    group = expert(entry, ["photo of {name}", "{name}!"])
    assert len(group) == 2 * (len(entry.findings) + 1)
    assert [p.text for p in group[-2:]] == [f"photo of {entry.name}", f"{entry.name}!"]
    assert sum(p.weight for p in group) == pytest.approx(1)
    assert entry.findings[0].seen in group[0].text


@pytest.mark.parametrize(
    ("key", "count"), [("nct-crc-quilt", 8), ("skincancer-tissue-quilt", 16), ("sicapv2-quilt", 4), ("pcam-quilt", 2)]
)
def test_quilts_prompts_are_four_per_class_in_its_order(key: str, count: int) -> None:
    knowledge = load_knowledge("histopathology")
    made = build_prompts(as_published(knowledge, key), key, "templates@1")
    assert len(made.classes) == count
    for label, name in knowledge.label_set(key).names.items():
        assert texts(made, label) == [t.format(name) for t in QUILT]


@pytest.mark.parametrize(
    ("key", "label", "text"),
    [
        ("nct-crc-pathgen", "BACK", "An H&E patch of background"),
        ("bach-pathgen", "InSitu", "An H&E image of In-situ carcinoma"),
        ("osteo-pathgen", "Non-Viable-Tumor", "An H&E image patch of Necrotic tumor"),
        ("lc25000-lung-pathgen", "lung_scc", "An image of lung squamous cell carcinomas"),
        ("lc25000-colon-pathgen", "colon_n", "An image of normal colon tissue"),
        ("wsss4luad-pathgen", "tumor", "An H&E image of tumor tissue."),
        (
            "skincancer-tissue-pathgen",
            "tumor_skin_epithelial_bcc",
            "An H&E image of Tumor epithelial basal cell carcinoma",
        ),
        ("sicapv2-pathgen", "NC", "An H&E image of Non-cancerous"),
    ],
)
def test_pathgens_prompts_are_one_per_class(key: str, label: str, text: str) -> None:
    made = build_prompts(as_published(load_knowledge("histopathology"), key), key, "templates@1")
    assert texts(made, label) == [text]
    assert all(len(c.groups) == 1 and len(c.groups[0]) == 1 for c in made.classes)


CAPTION = ["A fundus photograph of {name}"]


def test_flair_adds_the_name_at_the_end_unless_it_is_there() -> None:
    assert [p.text for p in flair_group("normal", ["healthy", "no sign"], CAPTION)] == [
        "A fundus photograph of healthy",
        "A fundus photograph of no sign",
        "A fundus photograph of normal",
    ]
    assert [p.text for p in flair_group("scar", ["scar"], CAPTION)] == ["A fundus photograph of scar"]
    assert [p.text for p in flair_group("lacking", [], CAPTION)] == ["A fundus photograph of lacking"]


def test_flair_leaves_the_names_of_myopic_maculopathy_out() -> None:
    assert [p.text for p in flair_group("myopic maculopathy grade one", ["x"], CAPTION)] == ["A fundus photograph of x"]
    # Asked alone where the dictionary has nothing, for otherwise the class would have no prompt.
    assert len(flair_group("myopic maculopathy grade one", [], CAPTION)) == 1


@given(st.lists(st.text("abc ", min_size=1).filter(str.strip), max_size=5), st.text("abc", min_size=1))
def test_flairs_groups_weigh_every_text_alike(phrases: list[str], name: str) -> None:
    group = flair_group(name, phrases, CAPTION)
    assert {p.text for p in group} == {CAPTION[0].format(name=t) for t in [*phrases, name]}
    assert {p.weight for p in group} == {1 / len(group)}


def dictionary(folder: Path, content: str, name: str = "dictionary.py") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_the_literal_of_a_python_file_is_read_and_nothing_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    path = dictionary(
        tmp_path,
        f'"""Words."""\nimport pathlib\npathlib.Path({str(ran)!r}).touch()\n'
        'other = {"x": 1}\ndefinitions = {"one": ["a", "b" " c"], "two": ["d"]}\n',
    )
    found = prompts_from_file(path)
    assert found.labels == ("one", "two") and texts(found, "one") == ["a", "b c"]
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("words = {}", "assigns no 'definitions'"),
        ("definitions = dict(a=['b'])", "not a plain dictionary"),
        ("definitions = {**x}", "not a plain dictionary"),
        ("definitions = ['a']", "holds no labels"),
        ("definitions = {", "cannot be read as Python"),
        ("definitions = {'a': [1]}", "not text"),
        ("\0", "cannot be read as Python"),
    ],
)
def test_other_python_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompts_from_file(dictionary(tmp_path, content))


def test_a_python_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        prompts_from_file(tmp_path / "dictionary.py")


def test_prompts_of_labels_from_the_dictionary(tmp_path: Path) -> None:
    known = prompts_from_file(dictionary(tmp_path, json.dumps({"sick": ["p", "q"]}), "d.json"))
    made, lacking = flair_prompts(known, {"0": ("well",), "1": ("sick",)}, CAPTION)
    assert lacking == ("well",)
    assert texts(made, "0") == ["A fundus photograph of well"]
    assert texts(made, "1") == [CAPTION[0].format(name=t) for t in ("p", "q", "sick")]
    assert made.strategy == "file@1" and made.source == known.source

"""What is asked: strategies, files, unions, stand-ins, and what reaches the tower."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from zero_shot_cases import shapes_file

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.evaluation.protocol import ZeroShot
from medfm.knowledge.prompts import Context, build_prompts
from medfm.workflows.zero_shot_prompts import questions, reaching_the_tower, strategies_of


def method(**settings: object) -> ZeroShot:
    return ZeroShot.model_validate(settings)


def prompt_file(folder: Path, values: object) -> str:
    path = folder / "prompts.json"
    path.write_text(json.dumps(values))
    return str(path)


@pytest.mark.parametrize(
    ("settings", "named", "expected"),
    [
        ({}, (), ["synonyms@1"]),
        ({}, ("class-name@1", "findings@1", "class-name@1"), ["class-name@1", "findings@1"]),
        ({"prompt_file": "x.json"}, (), ["file@1"]),
        ({"prompt_file": "x.json"}, ("file@1", "findings@1"), ["file@1", "findings@1"]),
        ({"prompt_file": "x.json"}, ("findings@1",), ["findings@1"]),
        ({"strategy": "file@1", "without_file": "findings@1"}, (), ["findings@1"]),
        ({"strategy": "file@1", "without_file": "findings@1", "prompt_file": "x.json"}, (), ["file@1"]),
    ],
)
def test_which_strategies_run(settings, named, expected) -> None:
    assert strategies_of(method(**settings), named) == expected


def test_a_file_is_needed_where_one_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="--prompt-file"):
        strategies_of(method(strategy="file@1"))
    with pytest.raises(UnknownNameError, match="did you mean 'file@1'"):
        strategies_of(method(), ["file@2"])


@pytest.mark.parametrize(
    ("settings", "named", "stands_in"),
    [
        ({"strategy": "file@1", "without_file": "findings@1"}, (), True),
        ({"strategy": "file@1", "without_file": "findings@1", "prompt_file": True}, (), False),
        ({"strategy": "file@1", "without_file": "findings@1", "prompt_file": True}, ("class-name@1",), True),
        ({"strategy": "file@1", "without_file": "findings@1", "prompt_file": True}, ("file@1", "class-name@1"), False),
        ({}, (), False),
    ],
)
def test_what_stands_in_for_published_prompts_is_marked(tmp_path, settings, named, stands_in) -> None:
    if settings.get("prompt_file"):
        settings = {**settings, "prompt_file": prompt_file(tmp_path, {"circle": "a circle"})}
    settings = {**settings, "knowledge": str(shapes_file(tmp_path))}
    assert questions(method(**settings), ["circle"], strategies=named).stand_in is stands_in


def test_prompts_are_those_of_the_strategies(tmp_path) -> None:
    found = questions(
        method(knowledge=str(shapes_file(tmp_path))), ["C", "S"], strategies=["descriptors@1"], label_set="fine"
    )
    assert found.knowledge is not None
    expected = build_prompts(found.knowledge, {"C": ("circle",), "S": ("square",)}, "descriptors@1")
    assert found.asked[0].prompts == expected
    assert found.asked[0].prompts.classes[1] == build_prompts(found.knowledge, "fine", "descriptors@1").classes[2]
    assert (found.label_set, found.file) == ("fine", None)
    # The method's label set wins over the cohort's.
    other = questions(method(knowledge=str(shapes_file(tmp_path)), label_set="coarse"), ["R"], label_set="fine")
    assert other.classes == {"R": ("round",)}


def test_a_union_has_a_group_of_prompts_for_each_part(tmp_path) -> None:
    found = questions(
        method(knowledge=str(shapes_file(tmp_path))),
        ["either"],
        strategies=["class-name@1"],
        given={"either": "circle+square"},
    )
    (entry,) = found.asked[0].prompts.classes
    assert [[p.text for p in g] for g in entry.groups] == [["circle."], ["square."]] and entry.pool == "max"


def test_a_file_by_key_by_mapping_and_by_union(tmp_path) -> None:
    path = prompt_file(tmp_path, {"A": "alpha", "B": ["beta", "bravo"], "A+B": "both", "Z": "never asked"})
    ask = method(prompt_file=path)
    found = questions(ask, ["A", "B"])
    assert found.asked[0].texts() == ["alpha", "beta", "bravo"] and found.knowledge is None
    assert found.file is not None and found.file["name"] == "prompts.json" and len(found.file["sha256"]) == 64
    assert questions(ask, ["x"], given={"x": "A+B"}).asked[0].texts() == ["both"]  # a key may hold the sign
    union = questions(ask, ["x", "A"], given={"x": "A+Z"}).asked[0].prompts
    assert [len(entry.groups) for entry in union.classes] == [2, 1]
    with pytest.raises(ConfigError, match="lacks 1 of 2 labels: C"):
        questions(ask, ["A", "C"])
    with pytest.raises(ConfigError, match="no class 'y' to map"):
        questions(ask, ["A"], given={"y": "A"})


def test_knowledge_of_the_modality_or_a_clear_error(tmp_path) -> None:
    found = questions(method(), ["atrial fibrillation"], modality="ecg")
    assert found.knowledge is not None and found.knowledge.domain == "ecg"
    with pytest.raises(ConfigError, match="no knowledge of blood_cell") as error:
        questions(method(), ["blast"], modality="blood_cell")
    assert "--knowledge" in str(error.value) and "--prompt-file" in str(error.value)


def test_contexts_have_texts_of_their_own(tmp_path) -> None:
    found = questions(method(knowledge=str(shapes_file(tmp_path))), ["circle"], strategies=["context@1"])
    (question,) = found.asked
    assert question.texts() == ["circle."]
    people = [Context(40, "male"), Context(), Context(40, "male"), Context(None, "female")]
    assert question.texts(people) == ["circle drawn by a 40-year-old male.", "circle.", "circle drawn by a female."]


def test_a_tower_that_does_not_show_its_tokens_is_no_error() -> None:
    assert reaching_the_tower(["a"], object(), True) == []

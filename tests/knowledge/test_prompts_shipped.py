"""Every strategy on every shipped label set: what must hold of the prompts whatever the knowledge says."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_knowledge import ecg, shapes

from medfm.core.config import build
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.embeddings.texts import TextCache
from medfm.evaluation.protocol import ZeroShot
from medfm.evaluation.zero_shot import class_vectors, zero_shot_scores
from medfm.knowledge.load import list_knowledge, load_knowledge
from medfm.knowledge.prompts import Context, build_prompts, context_of, describe_strategy, list_strategies
from medfm.workflows.zero_shot_prompts import FILE, questions, strategies_of

SETS = [(domain, name) for domain in list_knowledge() for name in load_knowledge(domain).label_sets]
CASES = list(itertools.product(SETS, list_strategies()))


@pytest.mark.parametrize(("where", "strategy"), CASES, ids=[f"{d}-{s}-{k}" for (d, s), k in CASES])
def test_every_label_is_asked_for_in_whole_sentences(where: tuple[str, str], strategy: str) -> None:
    knowledge = load_knowledge(where[0])
    made = build_prompts(knowledge, where[1], strategy)
    assert made.labels == tuple(knowledge.label_set(where[1]).labels)
    for entry in made.classes:
        for group in entry.groups:
            assert sum(p.weight for p in group) == pytest.approx(1.0)
            assert len({p.text for p in group}) == len(group)
            for prompt in group:
                text = prompt.text
                assert text == " ".join(text.split()), text
                assert "{" not in text and "  " not in text and ",," not in text and ", ." not in text, text
                assert text.count("(") == text.count(")"), text
                assert text.isascii() or "µ" in text, text
    assert made.digest() == build_prompts(knowledge, where[1], strategy).digest()
    assert knowledge.digest()[:12] in made.source


@pytest.mark.parametrize(("domain", "label_set"), SETS)
def test_labels_of_one_set_are_asked_in_different_words(domain: str, label_set: str) -> None:
    """Two labels with the same prompt could never be told apart; those of one class are the exception."""
    knowledge = load_knowledge(domain)
    classes = knowledge.label_set(label_set).labels
    for strategy in ("class-name@1", "findings@1"):
        made = build_prompts(knowledge, label_set, strategy)
        said: dict[str, str] = {}
        for entry in made.classes:
            text = entry.groups[0][0].text
            if text in said:
                assert classes[said[text]] == classes[entry.label], (strategy, text)
            said.setdefault(text, entry.label)


def test_findings_never_say_less_than_the_name() -> None:
    knowledge = ecg()
    for entry in knowledge.classes:
        for strategy in list_strategies():
            made = build_prompts(knowledge, [entry.id], strategy).classes[0]
            if strategy == "hierarchy@1":
                assert len(made.groups) == len(knowledge.parts(entry.id))
                continue
            assert any(entry.name in p.text for group in made.groups for p in group), (strategy, entry.id)


def test_strategies_are_described_in_one_line_each() -> None:
    for name in list_strategies():
        assert name.endswith("@1") and "\n" not in describe_strategy(name) and len(describe_strategy(name)) < 90
    with pytest.raises(UnknownNameError, match="did you mean 'findings@1'"):
        describe_strategy("finding@1")


@given(st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.none(), st.booleans()), st.text(max_size=8))
def test_whatever_a_table_says_is_a_context(age: object, sex: str) -> None:
    found = context_of(age, sex)
    assert found.age is None or (0 <= found.age <= 120 and (found.age < 10 or found.age % 10 == 0))
    assert found.sex in (None, "male", "female")
    assert context_of(found.age, found.sex) == found  # rounding once is rounding for good


@given(st.integers(10, 120))
def test_ages_are_rounded_to_the_nearest_decade(age: int) -> None:
    rounded = context_of(age).age
    assert rounded is not None and abs(rounded - age) <= 5
    assert context_of(str(age)) == context_of(float(age)) == context_of(np.int64(age))


class Planted:
    """A text tower that gives every different text its own direction and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        rows = [np.random.default_rng(abs(hash(text)) % 2**32).normal(size=16) for text in texts]
        return np.stack(rows).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), strategy=st.sampled_from(list_strategies()))
def test_scores_follow_the_labels_and_not_their_order(seed: int, strategy: str) -> None:
    rng = np.random.default_rng(seed)
    labels = {"C": ("circle",), "E": ("ellipse",), "S": ("square",), "R": ("round",)}
    order = list(labels)
    rng.shuffle(order)
    vectors = rng.normal(size=(9, 16)).astype(np.float32)
    cache = TextCache(Planted(), "planted")
    first = zero_shot_scores(vectors, class_vectors(build_prompts(shapes(), labels, strategy), cache))
    turned = {name: labels[name] for name in order}
    second = zero_shot_scores(vectors, class_vectors(build_prompts(shapes(), turned, strategy), cache))
    places = [list(labels).index(name) for name in order]
    np.testing.assert_allclose(second, first[:, places], atol=1e-6)
    assert (np.abs(first) <= 1 + 1e-6).all()
    # Cosines: the length of a record's vector says nothing.
    longer = zero_shot_scores(vectors * 8, class_vectors(build_prompts(shapes(), labels, strategy), cache))
    np.testing.assert_allclose(longer, first, atol=1e-6)


def test_a_union_is_the_better_of_its_parts() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    cache = TextCache(Planted(), "planted")
    apart = build_prompts(shapes(), {"C": ("circle",), "E": ("ellipse",)}, "class-name@1")
    both = build_prompts(shapes(), {"B": ("circle", "ellipse")}, "class-name@1")
    parts = zero_shot_scores(vectors, class_vectors(apart, cache))
    union = zero_shot_scores(vectors, class_vectors(both, cache))
    np.testing.assert_allclose(union[:, 0], parts.max(axis=1), atol=1e-6)


def test_every_text_is_encoded_once_over_all_strategies() -> None:
    tower = Planted()
    cache = TextCache(tower, "planted")
    for _ in range(2):
        for strategy in list_strategies():
            class_vectors(build_prompts(shapes(), "fine", strategy), cache)
    assert len(tower.asked) == len(set(tower.asked))


def method(**changes: object) -> ZeroShot:
    return build(ZeroShot, {"kind": "zero_shot", **changes}, where="test")


def test_which_strategies_are_run() -> None:
    assert strategies_of(method()) == ["findings@1"] or len(strategies_of(method())) == 1
    assert strategies_of(method(), ("class-name@1", "findings@1", "class-name@1")) == ["class-name@1", "findings@1"]
    assert strategies_of(method(prompt_file="x.json")) == [FILE]
    assert strategies_of(method(strategy=FILE, without_file="findings@1")) == ["findings@1"]
    with pytest.raises(ConfigError, match="none is named") as caught:
        strategies_of(method(), (FILE,))
    assert "--prompt-file" in caught.value.fix
    with pytest.raises(UnknownNameError, match="findings@1"):
        strategies_of(method(), ("findings",))


def test_a_prompt_file_may_name_labels_by_other_words(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"circle": "a round one", "A+B": "both at once", "A": "first", "B": "second"}))
    asked = questions(method(prompt_file=str(file)), ["C", "AB", "X"],
                      given={"C": "circle", "AB": "A+B", "X": "A+circle"})  # fmt: skip
    prompts = asked.asked[0].prompts
    said = {c.label: [[p.text for p in g] for g in c.groups] for c in prompts.classes}
    # A key that holds the sign itself comes before the union.
    assert said == {"C": [["a round one"]], "AB": [["both at once"]], "X": [["first"], ["a round one"]]}
    assert asked.knowledge is None and asked.classes == {} and not asked.stand_in
    assert asked.file is not None and asked.file["name"] == "p.json" and len(asked.file["sha256"]) == 64
    with pytest.raises(ConfigError, match="no class 'Y' to map"):
        questions(method(prompt_file=str(file)), ["C"], given={"Y": "circle"})
    with pytest.raises(ConfigError, match="D"):
        questions(method(prompt_file=str(file)), ["D"])


def test_a_modality_without_knowledge_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="no knowledge of blood_cell") as caught:
        questions(method(), ["a"], modality="blood_cell")
    assert "ecg" in caught.value.expected and "--prompt-file" in caught.value.fix


def test_templates_of_the_protocol_replace_those_of_the_knowledge() -> None:
    asked = questions(
        method(templates=["photo of {name}."], knowledge="ecg", label_set="ptbxl-super", strategy="templates@1"),
        ["NORM"],
    )
    (entry,) = asked.asked[0].prompts.classes
    assert len(entry.groups[0]) == 1 and entry.groups[0][0].text.startswith("photo of ")
    with pytest.raises(ConfigError) as caught:
        questions(method(templates=["photo of {label}."], knowledge="ecg"), ["NORM"], label_set="ptbxl-super")
    assert caught.value.where == "method.templates"


def test_contexts_ask_once_per_kind_of_person() -> None:
    asked = questions(
        method(knowledge="ecg", label_set="ptbxl-super"), ["NORM", "MI"], strategies=("context@1", "class-name@1")
    )
    people = [Context(60, "male"), Context(60, "male"), Context(None, "female")]
    texts = asked.asked[0].texts(people)
    assert len(texts) == 4 and len(set(texts)) == 4
    assert asked.asked[0].texts() == asked.asked[0].prompts.texts()
    assert asked.asked[1].texts(people) == asked.asked[1].prompts.texts()

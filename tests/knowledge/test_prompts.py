"""Prompt strategies: what each says, weights, digests, contexts."""

from __future__ import annotations

import pytest
from small_knowledge import shapes

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.knowledge.prompts import (
    ClassPrompts,
    Context,
    Prompt,
    PromptSet,
    build_prompts,
    context_of,
    describe_strategy,
    list_strategies,
    synonyms,
    uniform,
)


def said(strategy: str, label: str = "C", label_set: str = "fine", context: Context | None = None) -> list[list[str]]:
    prompts = build_prompts(shapes(), label_set, strategy, context=context)
    entry = next(c for c in prompts.classes if c.label == label)
    return [[p.text for p in group] for group in entry.groups]


def test_what_each_strategy_says() -> None:
    assert said("class-name@1") == [["circle."]]
    assert said("templates@1") == [["a circle.", "drawing of a circle."]]
    assert said("synonyms@1") == [["circle.", "disc.", "ring."]]
    assert said("descriptors@1") == [
        ["circle, seen as no corners.", "circle, seen as constant radius in leads V1 to V3."]
    ]
    assert said("findings@1") == [["circle, no corners, constant radius in leads V1 to V3 (within 1 percent)."]]


def test_a_class_without_findings_is_asked_for_by_name() -> None:
    assert said("descriptors@1", "S") == said("findings@1", "S") == [["square."]]


def test_a_parent_is_scored_through_its_lowest_descendants() -> None:
    assert said("hierarchy@1", "R", "coarse") == [said("findings@1", "C")[0], said("findings@1", "E")[0]]
    assert said("hierarchy@1", "S", "coarse") == [["square."]]


@pytest.mark.parametrize(
    ("context", "text"),
    [
        (Context(60, "female"), "circle drawn by a 60-year-old female."),
        (Context(60), "circle drawn at 60."),
        (Context(sex="male"), "circle drawn by a male."),
        (Context(0, None), "circle drawn at 0."),
        (Context(), "circle."),
        (None, "circle."),
    ],
)
def test_the_context_says_what_is_known(context: Context | None, text: str) -> None:
    assert said("context@1", context=context) == [[text]]


def test_without_context_templates_the_name_alone() -> None:
    bare = shapes().model_copy(update={"context": None})
    prompts = build_prompts(bare, "fine", "context@1", context=Context(60, "male"))
    assert prompts.texts() == ["circle.", "ellipse.", "square."]


@pytest.mark.parametrize(
    ("age", "sex", "expected"),
    [
        (64.9, "F", Context(60, "female")),
        (65, "Male", Context(70, "male")),
        ("7", None, Context(7, None)),
        (float("nan"), "unknown", Context()),
        (None, "", Context()),
        ("n/a", " m ", Context(None, "male")),
        (-3, "f", Context(None, "female")),
        (300, "f", Context(None, "female")),
        (float("inf"), None, Context()),
    ],
)
def test_contexts_of_cohort_rows(age: object, sex: object, expected: Context) -> None:
    assert context_of(age, sex) == expected


@pytest.mark.parametrize("strategy", list_strategies())
def test_weights_of_a_group_sum_to_one_and_digests_repeat(strategy: str) -> None:
    first, again = (build_prompts(shapes(), "coarse", strategy) for _ in range(2))
    assert first == again
    assert first.digest() == again.digest()
    for entry in first.classes:
        for group in entry.groups:
            assert sum(p.weight for p in group) == pytest.approx(1.0)
    assert describe_strategy(strategy)
    assert first.strategy == strategy
    assert "shapes version 3" in first.source


def test_the_name_weighs_as_much_as_all_synonyms() -> None:
    group = build_prompts(shapes(), "fine", "synonyms@1").classes[0].groups[0]
    assert [p.weight for p in group] == [0.5, 0.25, 0.25]


def test_class_ids_may_be_given_instead_of_a_label_set() -> None:
    assert build_prompts(shapes(), ["square", "circle"], "class-name@1").labels == ("square", "circle")


def test_wrong_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'findings@1'"):
        build_prompts(shapes(), "fine", "finding")
    with pytest.raises(UnknownNameError, match="label set"):
        build_prompts(shapes(), "five", "findings@1")
    with pytest.raises(ConfigError, match="no labels"):
        build_prompts(shapes(), [], "findings@1")


def test_impossible_prompts_are_refused() -> None:
    good = ClassPrompts("a", (uniform(["x"]),))
    with pytest.raises(ConfigError, match="twice: a"):
        PromptSet("x@1", (good, good))
    for groups in ((), ((),)):
        with pytest.raises(ConfigError, match="no prompt"):
            ClassPrompts("a", groups)
    with pytest.raises(ConfigError, match="empty prompt"):
        ClassPrompts("a", ((Prompt("  "),),))
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="weight"):
            ClassPrompts("a", ((Prompt("x", weight),),))
    with pytest.raises(ConfigError, match="weigh nothing"):
        ClassPrompts("a", ((Prompt("x", 0.0),),))


def test_the_digest_sees_texts_weights_and_pooling_only() -> None:
    one = PromptSet("x@1", (ClassPrompts("a", (uniform(["x", "y"]),)),))
    assert one.digest() == PromptSet("z@1", one.classes, "elsewhere").digest()
    assert one.digest() != PromptSet("x@1", (ClassPrompts("a", (uniform(["y", "x"]),)),)).digest()
    assert one.digest() != PromptSet("x@1", (ClassPrompts("a", (uniform(["x", "y"]),), "mean"),)).digest()


def test_every_text_is_listed_once_in_order() -> None:
    prompts = build_prompts(shapes(), ["circle", "round", "square"], "hierarchy@1")
    texts = prompts.texts()
    assert len(texts) == len(set(texts)) == 3  # the round shape is asked for through circle and ellipse
    assert texts[0].startswith("circle")
    assert texts[-1] == "square."


def test_equal_texts_are_asked_once() -> None:
    assert uniform(["x", "y", "x"]) == (Prompt("x", 0.5), Prompt("y", 0.5))
    twin = shapes().entry("circle").model_copy(update={"synonyms": ("circle", "disc", "disc")})
    assert synonyms(twin) == (Prompt("circle.", 0.5), Prompt("disc.", 0.5))
    assert synonyms(shapes().entry("ellipse")) == (Prompt("ellipse.", 1.0),)

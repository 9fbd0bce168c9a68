"""The schema of knowledge: what it refuses, and how it finds its classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from small_knowledge import shapes, values

from medfm.core.config import build
from medfm.core.errors import ConfigError, UnknownNameError
from medfm.knowledge.schema import Knowledge, check_template


def change_class(index: int, **new: Any) -> Callable[[dict[str, Any]], None]:
    return lambda v: v["classes"][index].update(new)


WRONG: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("twice", change_class(3, id="circle"), "given twice: circle"),
    ("parent", change_class(1, parent="rounds"), "'rounds' of 'circle' does not exist; did you mean 'round'"),
    ("circle of parents", change_class(0, parent="circle"), "go in a circle: round -> circle -> round"),
    ("own parent", change_class(3, parent="square"), "go in a circle: square -> square"),
    (
        "code not looked up",
        change_class(1, codes={"geo": {"value": "C1", "checked_in": "boook"}}),
        "not among code_tables; did you mean 'book'",
    ),
    ("code without a place", change_class(1, codes={"geo": {"value": "C1"}}), "checked_in: this key is required"),
    ("unknown key", change_class(1, synonym=["disc"]), "did you mean 'synonyms'"),
    ("bad id", change_class(1, id="Circle!"), "string should match pattern"),
    ("empty name", change_class(1, name="  "), "at least 1 character"),
    ("template without a name", lambda v: v.update(templates=["a drawing"]), r"must hold exactly \{name\}"),
    ("no template", lambda v: v.update(templates=[]), "at least 1 item"),
    ("context", lambda v: v["context"].update(age="{name} {sex}"), r"must hold exactly \{name\}, \{age\}"),
    ("label", lambda v: v["label_sets"]["fine"]["labels"].update(S="sqare"), "did you mean 'square'"),
    ("empty label set", lambda v: v["label_sets"]["fine"].update(labels={}), "at least 1 item"),
    ("source without a section", change_class(1, sources=[{"standard": "x"}]), "section: this key is required"),
    ("language", lambda v: v.update(language="xx"), "language"),
]


@pytest.mark.parametrize(("change", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_what_is_wrong_is_one_clear_error(change: Callable[[dict[str, Any]], None], message: str) -> None:
    bent = values()
    change(bent)
    with pytest.raises(ConfigError, match=message):
        build(Knowledge, bent, where="shapes")


def test_the_tree() -> None:
    k = shapes()
    assert [c.id for c in k.children("round")] == ["circle", "ellipse"]
    assert [c.id for c in k.family("round")] == ["round", "circle", "ellipse"]
    assert [c.id for c in k.parts("round")] == ["circle", "ellipse"]
    assert [c.id for c in k.parts("square")] == ["square"]


def test_an_only_child_does_not_stand_for_its_parent() -> None:
    bent = values()
    bent["classes"].append({"id": "tile", "name": "tile", "parent": "square"})
    k = build(Knowledge, bent, where="shapes")
    assert [c.id for c in k.parts("square")] == ["square", "tile"]
    assert [c.id for c in k.parts("tile")] == ["tile"]


def test_wrong_names_name_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'circle'"):
        shapes().entry("circel")
    with pytest.raises(UnknownNameError, match="did you mean 'coarse'"):
        shapes().label_set("corse")


def test_the_digest_follows_the_content() -> None:
    bent = values()
    assert shapes().digest() == build(Knowledge, bent, where="").digest()
    bent["classes"][1]["synonyms"].append("wheel")
    assert shapes().digest() != build(Knowledge, bent, where="").digest()


def test_templates_take_exactly_their_fields() -> None:
    check_template("a {name} at {age}", ("name", "age"))
    for wrong in ("{name}", "{name} {age} {sex}", "{} {name} {age}"):
        with pytest.raises(ValueError, match="must hold exactly"):
            check_template(wrong, ("name", "age"))

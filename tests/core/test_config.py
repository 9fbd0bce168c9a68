"""Strict configuration: unknown keys, near names, overrides, digests, YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field, model_validator

import medfm.core.config as config_module
from medfm.core.config import (
    StrictConfig,
    build,
    describe,
    load_config,
    merge,
    parse_overrides,
    parse_yaml,
    read_yaml,
)
from medfm.core.errors import ConfigError
from medfm.core.resources import data_folder


class Inner(StrictConfig):
    rate: float = Field(0.1, gt=0, description="learning rate")
    steps: int = 3


class First(StrictConfig):
    kind: Literal["first"] = "first"
    alpha: float = 1.0


class Second(StrictConfig):
    kind: Literal["second"] = "second"
    beta: float = 1.0


class Outer(StrictConfig):
    name: str
    inner: Inner = Inner()
    choice: Annotated[First | Second, Field(discriminator="kind")] = First()
    tags: tuple[str, ...] = ()


def problems(values: object, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(Outer, values, where="test.yaml", overrides=overrides)
    assert caught.value.where == "test.yaml"
    return str(caught.value)


def test_defaults_and_overrides() -> None:
    config = build(Outer, {"name": "a"}, where="x", overrides=["inner.rate=0.5", "tags=[p, q]"])
    assert config.inner == Inner(rate=0.5)
    assert config.tags == ("p", "q")


def test_unknown_key_names_the_nearest() -> None:
    assert "inner.stepz: there is no such key; did you mean 'steps'?" in problems({"name": "a", "inner": {"stepz": 1}})


def test_unknown_key_without_a_near_one_lists_all() -> None:
    assert "known: choice, inner, name, tags" in problems({"name": "a", "zzzzzz": 1})


def test_unknown_key_inside_a_tagged_choice() -> None:
    text = problems({"name": "a", "choice": {"kind": "second", "betta": 1}})
    assert "betta" in text and "'beta'" in text


def test_all_problems_are_listed_at_once() -> None:
    text = problems({"inner": {"rate": -1, "steps": "many"}})
    assert "3 settings are wrong" in text
    assert "name: this key is required" in text
    assert "inner.rate: input should be greater than 0 (given: -1)" in text
    assert "inner.steps" in text and "'many'" in text


@pytest.mark.parametrize(
    ("given", "words"), [("2", "such as [2] (given: 2)"), ("ab", "such as [ab]"), ("{a: 1}", "write a list")]
)
def test_one_value_in_place_of_a_list_is_answered_with_how_to_write_it(given: str, words: str) -> None:
    class Steps(StrictConfig):
        steps: tuple[int, ...] = (1,)
        names: list[str] = Field(default_factory=list)

    for key in ("steps", "names"):
        with pytest.raises(ConfigError) as caught:
            build(Steps, {}, where="here", overrides=[f"{key}={given}"])
        assert f"{key}: write a list" in str(caught.value) and words in str(caught.value)
        assert "tuple" not in str(caught.value)


def test_not_a_mapping() -> None:
    assert "group of keys" in problems([1, 2])


def test_instances_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().rate = 3.0  # type: ignore[misc]


def test_digest_depends_on_values_only() -> None:
    assert Inner().digest() == Inner(steps=3, rate=0.1).digest()
    assert Inner().digest() != Inner(steps=4).digest()
    assert len(Inner().digest()) == 64


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = Outer(name="ä: #", tags=("1", "two"))
    file = tmp_path / "c.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(Outer, file) == config


def test_override_without_a_sign() -> None:
    with pytest.raises(ConfigError, match=r"'inner\.rate' is not an override"):
        parse_overrides(["inner.rate"])


def test_override_of_a_value_as_a_group() -> None:
    with pytest.raises(ConfigError, match="both as a value and as a group"):
        parse_overrides(["a=1", "a.b=2"])


def test_override_values_are_yaml() -> None:
    assert parse_overrides(["a=1e-3", "b=null", "c.d=[1, 2]", "e=x=y"]) == {
        # YAML 1.1 reads 1e-3 as text; pydantic turns it into a number for a float field.
        "a": "1e-3",
        "b": None,
        "c": {"d": [1, 2]},
        "e": "x=y",
    }


def test_merge_lays_groups_over_groups() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": {"e": 1}}) == {
        "a": {"b": 9, "c": 2},
        "d": {"e": 1},
    }


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="the key 'a' is given twice") as caught:
        parse_yaml("a: 1\nb: 2\na: 3\n", "x.yaml")
    assert caught.value.where == "x.yaml, line 3, column 1"


def test_a_nested_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'b' is given twice"):
        parse_yaml("a:\n  b: 1\n  b: 2\n", "x.yaml")


@pytest.mark.parametrize("text", ["{}: 1", "? [a, b]\n: 1", "a:\n  ? {b: 1}\n  : 2"])
def test_a_list_or_group_as_a_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a list or group cannot be a key"):
        parse_yaml(text, "here")


def test_the_fast_parser_reads_every_shipped_file_as_the_slow_one() -> None:
    files = sorted(data_folder("configs").rglob("*.yaml"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    texts += ["a: 010\nb: yes\nc: 1e3\nd: ~\ne: 2024-01-01\nf: é 😀", "", "x: &x [1]\ny: *x", "a: |\n  b\n   c\n"]
    # Largest files aside: PyYAML's own parser takes seconds for them, which is why the other one is used.
    for text in [text for text in texts if len(text) < 8000]:
        assert repr(parse_yaml(text, "here")) == repr(yaml.load(text, Loader=config_module._UniqueKeyLoader))
    assert len(files) > 20


@pytest.mark.parametrize("text", ["a: [1,", "a: 'x", "a: b: c", "\ta: 1", "a: *none", "a: 1\na: 2", "a: \x00", "}"])
def test_what_is_wrong_is_said_in_the_same_words_with_and_without_libyaml(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError) as fast:
        parse_yaml(text, "here")
    monkeypatch.setattr(config_module, "_FastLoader", config_module._UniqueKeyLoader)
    with pytest.raises(ConfigError) as slow:
        parse_yaml(text, "here")
    assert str(fast.value) == str(slow.value) and "here" in str(fast.value)


def test_yaml_cannot_build_objects() -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_yaml("a: !!python/object/apply:os.getcwd []", "x.yaml")


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8"):
        read_yaml(tmp_path / "b.yaml")


def test_describe_flattens_groups() -> None:
    rows = {key: (default, text) for key, default, text in describe(Outer)}
    assert rows["inner.rate"] == ("0.1", "learning rate")
    assert rows["name"][0] == "required"


class _Square(StrictConfig):
    kind: Literal["square"] = "square"
    side: float = Field(1.0, gt=0)


class _Circle(StrictConfig):
    kind: Literal["circle"] = "circle"
    radii: tuple[Literal[1, 2], ...] = Field((1,), min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> _Circle:
        if len(set(self.radii)) != len(self.radii):
            raise ValueError("a radius stands there twice")
        return self


class _Sheet(StrictConfig):
    shape: Annotated[_Square | _Circle, Field(discriminator="kind")] = _Square()


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"shape": {"kind": "square", "side": 0}}, ["shape.side: input should be greater than 0 (given: 0)"]),
        ({"shape": {"kind": "circle", "radii": [7]}}, ["shape.radii.0: input should be 1 or 2 (given: 7)"]),
        (
            {"shape": {"kind": "circle", "radii": []}},
            ["shape.radii: tuple should have at least 1 item after validation, not 0"],
        ),
        ({"shape": {"kind": "circle", "radii": [1, 1]}}, ["shape: a radius stands there twice"]),
        (
            {"shape": {"kind": "circle", "circle": 1}},
            ["shape.circle: there is no such key; known: kind, radii"],
        ),
        ({"shape": {"kind": "circle", "radi": [1]}}, ["shape.radi: there is no such key; did you mean 'radii'?"]),
    ],
)
def test_keys_are_named_as_a_user_writes_them(values: dict, lines: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(_Sheet, values, where="sheet.yaml")
    assert caught.value.what.splitlines()[1:] == [f"  - {line}" for line in lines]

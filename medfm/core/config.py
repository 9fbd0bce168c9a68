"""Strict configuration: one pydantic model is the source for Python, YAML, ``--set`` and ``--help``.

An unknown key is an error that names the nearest known key; each problem takes one short
line. No class paths, no expressions, no values from the environment.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medfm.core.errors import ConfigError
from medfm.core.hashing import sha256_json
from medfm.core.names import did_you_mean

C = TypeVar("C", bound="StrictConfig")


class StrictConfig(BaseModel):
    """Base of every configuration record: unknown keys are refused, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def to_dict(self) -> dict[str, Any]:
        """The resolved values as plain JSON-like data."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """SHA-256 of the resolved values: equal configurations have equal digests."""
        return sha256_json(self.to_dict())

    def to_yaml(self) -> str:
        """The resolved values as YAML, in the order of the fields."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without silent overwriting: a key given twice is an error."""


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, eight times as fast, where PyYAML was built with it."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a list or group cannot be a key", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


for _loader in (_UniqueKeyLoader, _FastLoader):
    _loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML `text`; errors name the place `where` with line and column.

    Raises:
        ConfigError: The text is not valid YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_FastLoader)
    except yaml.YAMLError:
        pass  # what is wrong is said in the words of PyYAML's own parser, which are the same everywhere
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"This is not valid YAML: {error.problem}.", where=f"{where}{line}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"This is not valid YAML: {error}.", where=where) from error


def read_yaml(path: str | Path) -> Any:
    """Read the YAML file at `path`."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError("The file does not exist.", where=str(file)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file cannot be read as UTF-8 text: {error}.", where=str(file)) from error
    return parse_yaml(text, str(file))


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn ``["a.b=0.1", "c=[1, 2]"]`` into ``{"a": {"b": 0.1}, "c": [1, 2]}``; values are YAML."""
    result: dict[str, Any] = {}
    for text in assignments:
        key, sign, raw = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(
                f"'{text}' is not an override.", where="--set", expected="KEY=VALUE, for example --set batch_size=16"
            )
        value = parse_yaml(raw, f"--set {text}")
        level = result
        *parents, leaf = key.strip().split(".")
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise ConfigError(f"'{parent}' is set both as a value and as a group.", where=f"--set {text}")
        level[leaf] = value
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid on top, group by group."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def build(kind: type[C], values: Any, *, where: str, overrides: Sequence[str] = ()) -> C:
    """Validate `values` (with ``--set`` style `overrides` on top) as a `kind`.

    Raises:
        ConfigError: One short line per problem, each with its key and what was expected.
    """
    if not isinstance(values, Mapping):
        raise ConfigError("A group of keys was expected here.", where=where, expected="KEY: VALUE lines")
    merged = merge(values, parse_overrides(overrides))
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        problems = error.errors()
        # A list that lost its wrong entries is also too short for pydantic; the entries are what is wrong.
        inner = [problem["loc"][:-1] for problem in problems]
        told = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inner]
        lines = [_line(kind, problem) for problem in told]
        raise ConfigError(
            f"{len(lines)} setting{'s are' if len(lines) > 1 else ' is'} wrong:\n  - " + "\n  - ".join(lines),
            where=where,
        ) from error


def load_config(kind: type[C], path: str | Path, *, overrides: Sequence[str] = ()) -> C:
    """Read the YAML file at `path` as a `kind`, with ``--set`` style `overrides` on top."""
    return build(kind, read_yaml(path), where=str(path), overrides=overrides)


def _line(kind: type[BaseModel], problem: Any) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in _without_tags(kind, location, problem["type"] == "extra_forbidden"))
    if problem["type"] == "extra_forbidden":
        names = _field_names(kind, location[:-1])
        return f"{key}: there is no such key; {did_you_mean(str(location[-1]), names)}"
    if problem["type"] == "missing":
        return f"{key}: this key is required"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    given = problem.get("input")
    if problem["type"] in ("tuple_type", "list_type"):
        message = "write a list" + (f", such as [{given}]" if isinstance(given, str | int | float) else "")
    shown = "" if isinstance(given, (dict, list, BaseModel)) else f" (given: {given!r})"
    return f"{key or 'as a whole'}: {message[:1].lower()}{message[1:]}{shown}"


def _field_names(kind: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys allowed at `location` inside `kind`, as far as the annotations tell."""
    models = _models_in(kind)
    for part in location:
        following: list[type[BaseModel]] = []
        for model in models:
            field = model.model_fields.get(part) if isinstance(part, str) else None
            following += _models_in(field.annotation) if field is not None else []
        # An index into a list stays at the same models; the tag of a tagged union chooses among them.
        models = following or _tagged(models, part) or models
    return sorted({alias for model in models for alias in model.model_fields})


def _tagged(models: Sequence[type[BaseModel]], part: Any) -> list[type[BaseModel]]:
    """Those of `models` that `part`, if it is the tag of a union, stands for."""
    if not isinstance(part, str):
        return []
    return [m for m in models if any(part in get_args(f.annotation) for f in m.model_fields.values())]


def _without_tags(kind: type[BaseModel], location: tuple[Any, ...], unknown_key: bool) -> list[Any]:
    """`location` as a user writes it: pydantic puts the tag of a tagged union among the keys.

    With `unknown_key` its last part is what the user wrote and stays.
    """
    models, kept = _models_in(kind), []
    for place, part in enumerate(location):
        tagged = _tagged(models, part)
        known = any(part in model.model_fields for model in models)
        if tagged and not known and 0 < place < len(location) - unknown_key:
            models = tagged
            continue
        kept.append(part)
        following = [
            inner
            for model in models
            if isinstance(part, str) and part in model.model_fields
            for inner in _models_in(model.model_fields[part].annotation)
        ]
        models = following or models
    return kept


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def describe(kind: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    """Rows ``(key, default, description)`` for every field of `kind`, groups flattened."""
    rows: list[tuple[str, str, str]] = []
    for name, field in kind.model_fields.items():
        inner = _models_in(field.annotation)
        if len(inner) == 1 and isinstance(field.annotation, type):
            rows += describe(inner[0], f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else str(field.get_default(call_default_factory=True))
        rows.append((f"{prefix}{name}", default, field.description or ""))
    return rows

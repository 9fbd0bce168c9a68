"""A prompt file of one's own, such as the one a paper published: ``{label: text or texts}``.

JSON or YAML; of a Python file (FLAIR's ``dictionary.py``) the literal called ``definitions`` is
read, and nothing is run.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfm.core.config import read_yaml
from medfm.core.errors import ConfigError
from medfm.core.hashing import sha256_file
from medfm.core.names import did_you_mean
from medfm.knowledge.prompts import ClassPrompts, Prompt, PromptSet

_EXPECTED = "LABEL: text, LABEL: [texts], or LABEL: [{text: ..., weight: ...}]"


def prompts_from_file(path: str | Path, labels: Sequence[str] | None = None) -> PromptSet:
    """The prompts of a JSON or YAML file, under the strategy name ``file@1``.

    Texts are taken as they are. A list of texts is averaged, by weight where weights are given.

    Args:
        path: The file.
        labels: The labels wanted, in order; the file may hold others. All of them when ``None``.

    Raises:
        ConfigError: The file cannot be read, gives a label twice, lacks a label, or a value is not text.
    """
    file = Path(path)
    values = _read(file)
    if not isinstance(values, dict) or not values:
        raise ConfigError("The prompt file holds no labels.", where=str(file), expected=_EXPECTED)
    known = {str(key): value for key, value in values.items()}
    wanted = list(known) if labels is None else list(labels)
    missing = [label for label in wanted if label not in known]
    if missing:
        raise ConfigError(
            f"The prompt file lacks {len(missing)} of {len(wanted)} labels: {', '.join(missing[:10])}.",
            where=str(file),
            fix=f"add them; {did_you_mean(missing[0], known)}",
        )
    classes = tuple(ClassPrompts(label, (_group(known[label], label, file),)) for label in wanted)
    return PromptSet("file@1", classes, f"{file.name} ({sha256_file(file)[:12]})")


def check_prompt_file(path: str | Path) -> None:
    """Raise :class:`ConfigError` when there is no prompt file at `path`; asked before anything large is loaded."""
    if not Path(path).is_file():
        raise _absent(Path(path))


def _absent(file: Path) -> ConfigError:
    return ConfigError(
        "The prompt file does not exist.",
        where=str(file),
        expected=f"JSON or YAML with {_EXPECTED}, or a paper's own file",
        fix="mend --prompt-file, or leave it out: then our own prompts are asked",
    )


def _read(file: Path) -> Any:
    if not file.is_file():
        raise _absent(file)
    if file.suffix.lower() == ".py":
        return _python_literal(file)
    if file.suffix.lower() != ".json":
        return read_yaml(file)
    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_no_twice)
    except _TwiceError as error:
        raise ConfigError(f"The label '{error}' is given twice.", where=str(file)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"The file cannot be read as JSON: {error}.", where=str(file)) from error


def _python_literal(file: Path) -> Any:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ConfigError(f"The file cannot be read as Python: {error}.", where=str(file)) from error
    for node in tree.body:
        named = isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "definitions" for t in node.targets
        )
        if named and isinstance(node, ast.Assign):
            try:
                return ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
                raise ConfigError(
                    "'definitions' is not a plain dictionary of texts.", where=str(file), expected=_EXPECTED
                ) from error
    raise ConfigError(
        "The Python file assigns no 'definitions'.", where=str(file), expected="definitions = {LABEL: [texts]}"
    )


class _TwiceError(Exception):
    """A JSON object gives a key twice."""


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


def _group(value: Any, label: str, file: Path) -> tuple[Prompt, ...]:
    items = value if isinstance(value, list) else [value]
    prompts = [_prompt(item) for item in items]
    if not prompts or any(p is None for p in prompts):
        raise ConfigError(f"The value of '{label}' is not text.", where=str(file), expected=_EXPECTED)
    good = [p for p in prompts if p is not None]
    total = sum(p.weight for p in good)
    if any(p.weight < 0 for p in good) or not 0 < total < math.inf:
        raise ConfigError(
            f"The weights of '{label}' cannot be used.", where=str(file), expected="0 or more, one above 0"
        )
    return tuple(Prompt(p.text, p.weight / total) for p in good)


def _prompt(item: Any) -> Prompt | None:
    if isinstance(item, str) and item.strip():
        return Prompt(item)
    if isinstance(item, dict) and set(item) <= {"text", "weight"} and isinstance(item.get("text"), str):
        weight = item.get("weight", 1.0)
        if item["text"].strip() and isinstance(weight, (int, float)) and not isinstance(weight, bool):
            return Prompt(item["text"], float(weight))
    return None

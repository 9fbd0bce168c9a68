"""From the class names of a cohort to the classes of a knowledge file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medfm.core.errors import ConfigError
from medfm.core.names import did_you_mean
from medfm.knowledge.schema import Knowledge

_JOIN = "+"


def match_classes(
    knowledge: Knowledge,
    names: Sequence[str],
    label_set: str | None = None,
    given: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """The class ids behind each of `names`.

    In this order: what is `given`, the label of the label set, a class id, the set's published name, a class name,
    a synonym.
    Case, and blanks against hyphens and underscores, do not matter for names and synonyms.

    Args:
        knowledge: The domain's knowledge.
        names: Class or label names as the cohort writes them.
        label_set: Name of one of the knowledge's label sets.
        given: Name -> id, name, synonym or label; several joined by ``+`` stand for "any of these".

    Returns:
        One or more class ids per name, in the order of `names`.

    Raises:
        UnknownNameError: There is no such label set.
        ConfigError: Names without a class are listed, each with near ones; a name fits several
            classes; `given` holds a name that is not among `names`.
    """
    wanted = dict(given or {})
    stray = [name for name in wanted if name not in names]
    if stray:
        raise ConfigError(
            f"There is no class '{stray[0]}' to map.", where="--map-class", fix=did_you_mean(stray[0], names)
        )
    labels = dict(knowledge.label_set(label_set).labels) if label_set is not None else {}
    words = _words(knowledge)
    if label_set is not None:
        published = knowledge.label_set(label_set).names
        words = {**words, **{folded(text): (labels[label],) for label, text in published.items()}}
    found: dict[str, tuple[str, ...]] = {}
    lacking: dict[str, str] = {}
    for name in names:
        if name in wanted:
            # A label may hold the sign itself, so the whole comes first.
            whole = _ids(wanted[name], knowledge, labels, words)
            parts = [whole] if whole else [_ids(p, knowledge, labels, words) for p in wanted[name].split(_JOIN)]
            asked = wanted[name]
        else:
            parts, asked = [_ids(name, knowledge, labels, words)], name
        if not all(parts):
            lacking[name] = f"'{name}'" + (f" (mapped to '{asked}')" if asked != name else "")
        many = [part for part in parts if len(part) > 1]
        if many:
            raise ConfigError(
                f"'{asked}' fits several classes: {', '.join(many[0])}.",
                where=f"knowledge '{knowledge.domain}'",
                fix=f"say which with --map-class '{name}={many[0][0]}'",
            )
        found[name] = tuple(dict.fromkeys(i for part in parts for i in part))
    if lacking:
        raise _no_prompt(knowledge, lacking, labels, label_set)
    return found


def _no_prompt(
    knowledge: Knowledge, lacking: Mapping[str, str], labels: Mapping[str, str], label_set: str | None
) -> ConfigError:
    names = list(lacking)
    choices = [*labels, *(c.id for c in knowledge.classes), *(c.name for c in knowledge.classes)]
    near = [hint for name in names[:3] if (hint := _hint(name, choices))]
    known = {title: len(set(names) & set(s.labels)) for title, s in knowledge.label_sets.items()}
    count = max(known.values(), default=0)
    if count and not labels:
        best = [title for title, n in known.items() if n == count]
        # '0' to '4' are steps of quite different scales: naming one of several would be a guess about the disease.
        near.append(
            f"the label set '{best[0]}' knows {count} of them (--label-set)"
            if len(best) == 1
            else f"{len(best)} label sets know {count} of them ({_few(best, 6)}): name yours with --label-set"
        )
    said = f"No prompt can be made for {', '.join(lacking.values())}: the knowledge '{knowledge.domain}' knows no such class"
    return ConfigError(
        f"{said}." if label_set is None else f"{said}, and the label set '{label_set}' does not cover it.",
        where=None if label_set is None else f"label set '{label_set}': {_few(list(labels))}",
        expected="a label of the label set, or the id, name or synonym of a class",
        fix="; ".join([*near, f"map it with --map-class '{names[0]}=CLASS', or leave its records out with "
                       f"--leave-out '{names[0]}'"]),
    )  # fmt: skip


def _few(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _hint(name: str, choices: Sequence[str]) -> str:
    text = did_you_mean(name, choices)
    return f"for '{name}' {text}" if text.startswith("did you mean") else ""


def _ids(
    name: str, knowledge: Knowledge, labels: Mapping[str, str], words: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    if name in labels:
        return (labels[name],)
    if any(entry.id == name for entry in knowledge.classes):
        return (name,)
    return words.get(folded(name), ())


def _words(knowledge: Knowledge) -> dict[str, tuple[str, ...]]:
    """Folded names, then folded synonyms where no name is the same, -> class ids."""
    names: dict[str, tuple[str, ...]] = {}
    others: dict[str, tuple[str, ...]] = {}
    for entry in knowledge.classes:
        for word in dict.fromkeys((folded(entry.id), folded(entry.name))):
            names[word] = (*names.get(word, ()), entry.id)
        for word in dict.fromkeys(map(folded, entry.synonyms)):
            others[word] = (*others.get(word, ()), entry.id)
    return {**others, **names}


def folded(text: str) -> str:
    """Lower case, one blank for every run of blanks, hyphens and underscores."""
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()

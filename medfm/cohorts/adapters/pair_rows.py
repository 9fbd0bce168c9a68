"""One picture with its captions, whatever file said so, and the cohort rows made of it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medfm.core.names import did_you_mean
from medfm.io.tables import MISSING

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
# What a row of a cohort may say of a picture besides its place and its text.
CARRIED = ("patient_id", "site", "split", "label")


@dataclass
class LeftOut:
    """What was not taken, with the reasons.

    Attributes:
        lines: Where it stood (shard and member, or line of the table), and why it was left out.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        """Leave something out."""
        self.lines.append((where, reason))

    def summary(self) -> list[str]:
        """One line per reason with its count, most frequent first."""
        counted = Counter(reason for _, reason in self.lines).most_common()
        return [f"{number:,} left out: {reason}" for reason, number in counted]

    def to_csv(self) -> str:
        """``where,reason`` per thing left out."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("where", "reason"))
        writer.writerows(self.lines)
        return text.getvalue()


@dataclass(frozen=True)
class Picture:
    """A picture, where it is, and what is said of it.

    Attributes:
        name: The id of the picture: shard and key, or its path.
        place: ``path``, and ``member`` with ``member_offset`` for a shard.
        captions: As written, in order; may be empty.
        facts: Other columns of its rows.
        where: Shard and key or line of the table, for the list of what was left out.
    """

    name: str
    place: Mapping[str, Any]
    captions: tuple[str, ...]
    facts: Mapping[str, Any]
    where: str


class PairRows:
    """Collects cohort rows: one per picture and caption, so a picture with three captions has three.

    The first row of a picture has its name as ``record_id``, the next ``NAME#2`` ...; all have it as
    ``picture_id``. A pair that came before is left out.
    """

    def __init__(self, left_out: LeftOut) -> None:
        self.rows: list[dict[str, Any]] = []
        self.left_out = left_out
        self._captions: dict[str, list[str]] = {}
        self.without_caption = 0
        self.several = 0

    @property
    def pictures(self) -> int:
        """Different pictures."""
        return len(self._captions)

    def add(self, picture: Picture) -> None:
        """Rows for the captions of `picture` that were not there before; one without text when it has none."""
        known = self._captions.get(picture.name)
        texts = list(dict.fromkeys(filter(None, map(one_line, picture.captions))))
        if known is None:
            known = self._captions[picture.name] = []
            if not texts:
                self.without_caption += 1
                known.append("")
                self._row(picture, 1, None)
                return
        elif not texts or all(text in known for text in texts):
            self.left_out.add(picture.where, "this picture with this caption came before")
            return
        for text in texts:
            if text in known:
                continue
            known.append(text)
            self.several += len(known) == 2
            self._row(picture, len(known), text)

    def _row(self, picture: Picture, number: int, text: str | None) -> None:
        name = picture.name if number == 1 else f"{picture.name}#{number}"
        row = {"record_id": name, "picture_id": picture.name, **picture.place, **picture.facts, "text": text}
        self.rows.append({key: value for key, value in row.items() if value is not None})


def one_line(text: Any) -> str:
    """`text` with runs of white space and line breaks as one space; ``""`` for what tables call missing."""
    line = " ".join(str(text).split())
    return "" if line.lower() in MISSING else line


def captions_of(value: Any) -> tuple[str, ...]:
    """One caption, or several: a list, or a cell that holds a JSON list of strings."""
    if value is None:
        return ()
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            value = json.loads(value)
        except ValueError:
            return (value,)
    if isinstance(value, (list, tuple)):
        return tuple(str(part) for part in value if isinstance(part, (str, int, float)))
    return (str(value),)


def split_of(value: Any) -> str | None:
    """``train``, ``val`` or ``test`` for the usual words in any case; the word itself for another."""
    word = one_line(value)
    return SPLIT_WORDS.get(word.lower(), word) or None


def facts_of(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a picture: `columns` says which key of `record` each comes from; empty ones are left out."""
    found: dict[str, Any] = {}
    for name, key in columns.items():
        value = record.get(key)
        if value is None or isinstance(value, (dict, list)) or not one_line(value):
            continue
        found[name] = split_of(value) if name == "split" else one_line(value)
    return found


def near_columns(name: str, present: Iterator[str] | list[str]) -> str:
    """A hint for a column that is not there."""
    return did_you_mean(name, list(present))

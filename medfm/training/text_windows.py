"""Texts longer than the tower takes: cut off, a random stretch, a random sentence, or several windows averaged.

CLIP's tower takes 77 tokens, PubMedBERT's 256 or 512, and captions of Quilt-1M or radiology reports are often
longer. ConVIRT (Zhang et al., arXiv 2010.00747) draws one sentence per picture and step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from medfm.training.text_window_rule import Kind, TextWindow

Read = Callable[[Tensor, Tensor], Tensor]
# A full stop inside a number is followed by no space. A line break ends a sentence as well.
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
# After these a full stop ends no sentence; nor after a single letter before a small one (E. coli).
_ABBREVIATION = re.compile(r"(?:^|[\s(\[])(?:dr|mr|mrs|ms|prof|fig|figs|vs|e\.g|i\.e|ca|approx|cf)\.$", re.IGNORECASE)
_LETTER = re.compile(r"(?:^|[\s(\[])[A-Za-z]\.$")
_STREAM = 23  # keeps these draws apart from those of the order


class Tokens(Protocol):
    """A tokenizer that shows a text whole."""

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, opening and closing ones included, nothing cut off."""


@dataclass(frozen=True)
class TextFigures:
    """How long texts are against what the tower takes.

    Attributes:
        kind: What is read of a long one.
        limit: Tokens the tower takes, opening and closing ones included.
        texts: Different texts.
        long: Texts longer than the limit.
        longest: Tokens of the longest.
        tokens: Tokens of all texts.
        never_read: Tokens that no step reads.
        step_share: Share of its tokens that a text shows in one step, mean over the tokens of all texts.
    """

    kind: Kind
    limit: int
    texts: int
    long: int
    longest: int
    tokens: int
    never_read: int
    step_share: float

    def row(self) -> dict[str, float]:
        """For a line of the training log."""
        names = ("texts", "long", "never_read", "step_share")
        return {f"text_{name}": float(getattr(self, name)) for name in names}

    def __str__(self) -> str:
        head = f"{self.long:,} of {self.texts:,} texts are longer than {self.limit} tokens (up to {self.longest:,})"
        share = 100 * self.never_read / max(1, self.tokens)
        lost = f"{self.never_read:,} of {self.tokens:,} tokens ({share:.1f} %) are never read"
        return f"{head}; {lost}; a step reads {100 * self.step_share:.1f} % (text.window.kind {self.kind})"


def sentences(text: str) -> list[str]:
    """The sentences of `text` without white space at their ends; the text itself where it has none.

    A sentence ends at a full stop, exclamation or question mark before white space, and at a line break, but not
    after a usual abbreviation or a single letter with a small one behind. Pieces without a letter or digit are left out.
    """
    parts, start = [], 0
    for match in _END.finditer(text):
        before, after = text[start : match.start()], text[match.end() : match.end() + 1]
        if "\n" not in match[0] and (_ABBREVIATION.search(before) or (_LETTER.search(before) and after.islower())):
            continue
        parts.append(text[start : match.end()].strip())
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if any(sign.isalnum() for sign in part)] or [text.strip()]


@dataclass(frozen=True)
class TextWindows:
    """What may be read of every text: units of tokens, one of which (or all) a step takes.

    Attributes:
        kind: How units are taken.
        limit: Tokens per window, opening and closing ones included.
        opening, closing: The tokens that every window begins and ends with.
        body: int32 (tokens,): the units one after another, without opening and closing tokens.
        starts: int64 (units + 1,): where each unit begins in `body`.
        first: int64 (texts + 1,): the first unit of each text.
        held: float32 (units, width): vectors of the units where a frozen tower has read all of them.
    """

    kind: Kind
    limit: int
    opening: int
    closing: int
    body: np.ndarray
    starts: np.ndarray
    first: np.ndarray
    held: Tensor | None = None

    def batch(
        self, texts: Sequence[int], positions: Sequence[int], draw: tuple[int, int] | None = None
    ) -> tuple[Tensor, ...]:
        """What the model takes for the records at `positions`, whose texts are `texts`.

        Args:
            texts: Text of each record.
            positions: The records; with seed and step they alone decide what is drawn.
            draw: Seed and step; ``None`` draws once for all steps, as validation does.

        Returns:
            (ids, mask) with a row per record; (ids, mask, owner) with a row per window where several are averaged,
            owner int64 saying whose; or (vectors,) of a frozen tower.
        """
        if self.kind == "sentences":
            units = [list(range(self.first[text], self.first[text + 1])) for text in texts]
            owner = torch.tensor([row for row, own in enumerate(units) for _ in own])
            return (*self._padded([self._unit(u) for own in units for u in own]), owner)
        seed, step = draw if draw is not None else (0, 0)
        chosen = []
        for text, position in zip(texts, positions, strict=True):
            source = np.random.default_rng(np.random.SeedSequence([seed, _STREAM, step, position]))
            low, high = int(self.first[text]), int(self.first[text + 1])
            chosen.append((low + int(source.integers(high - low)), source))
        if self.held is not None:
            return (self.held[[unit for unit, _ in chosen]],)
        return self._padded([self._unit(unit, source) for unit, source in chosen])

    def with_vectors(self, read: Read) -> tuple[Tensor | None, TextWindows]:
        """The vectors of a frozen tower: one per text where they do not change, else windows that hold them.

        ``random_window`` has as many windows as tokens, so it is read in every step.
        """
        if self.kind == "random_window":
            return None, self
        vectors = read(*self._padded([self._unit(unit) for unit in range(len(self.starts) - 1)]))
        if self.kind == "sentences":
            owner = torch.tensor(np.repeat(np.arange(len(self.first) - 1), np.diff(self.first)))
            return averaged(vectors, owner), self
        return None, replace(self, held=vectors)

    def _unit(self, unit: int, source: np.random.Generator | None = None) -> np.ndarray:
        start, stop = int(self.starts[unit]), int(self.starts[unit + 1])
        room = self.limit - 2
        if stop - start > room and self.kind == "random_window" and source is not None:
            start += int(source.integers(stop - start - room + 1))
        return self.body[start : min(stop, start + room)]

    def _padded(self, bodies: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        length = max(len(body) for body in bodies) + 2
        ids = torch.zeros((len(bodies), length), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, body in enumerate(bodies):
            end = len(body) + 1
            ids[row, 0], ids[row, end] = self.opening, self.closing
            ids[row, 1:end] = torch.from_numpy(body.astype(np.int64))
            mask[row, : end + 1] = 1
        return ids, mask


def text_windows(
    tokenizer: Tokens, texts: Sequence[str], limit: int, rule: TextWindow
) -> tuple[TextWindows | None, TextFigures]:
    """The windows of `texts` (``None`` for ``truncate``, where the cut token ids do), and how much they leave out.

    Args:
        tokenizer: Of the tower. Id 0 pads, as in BERT's and CLIP's vocabularies; the mask says where.
        texts: The different texts, at least one.
        limit: Tokens the tower takes, opening and closing ones included; at least 3.
        rule: The recipe's.
    """
    whole = tokenizer.whole(texts)
    lengths = np.array([len(row) for row in whole])
    room = limit - 2
    bodies = [row[1:-1] for row in whole]
    units = [_units(tokenizer, text, body, room, rule) for text, body in zip(texts, bodies, strict=True)]
    read_once = np.array([_read_in_a_step(own, room, rule.kind) for own in units])
    never = sum(_never_read(body, own, room, rule.kind) for body, own in zip(bodies, units, strict=True))
    total = int((lengths - 2).sum())
    figures = TextFigures(
        kind=rule.kind,
        limit=limit,
        texts=len(texts),
        long=int((lengths > limit).sum()),
        longest=int(lengths.max()),
        tokens=total,
        never_read=never,
        step_share=float(min(1.0, read_once.sum() / max(1, total))),
    )
    if rule.kind == "truncate":
        return None, figures
    flat = [unit for own in units for unit in own]
    return (
        TextWindows(
            kind=rule.kind,
            limit=limit,
            opening=whole[0][0],
            closing=whole[0][-1],
            body=np.array([token for unit in flat for token in unit], dtype=np.int32),
            starts=np.concatenate([[0], np.cumsum([len(unit) for unit in flat])]).astype(np.int64),
            first=np.concatenate([[0], np.cumsum([len(own) for own in units])]).astype(np.int64),
        ),
        figures,
    )


def _units(tokenizer: Tokens, text: str, body: list[int], room: int, rule: TextWindow) -> list[list[int]]:
    if rule.kind in ("truncate", "random_window") or (rule.kind == "sentences" and len(body) <= room):
        return [body]
    parts = [row[1:-1] for row in tokenizer.whole(sentences(text))]
    if rule.kind == "random_sentence":
        return parts
    windows: list[list[int]] = [[]]
    for part in parts:
        for start in range(0, len(part), room):
            piece = part[start : start + room]
            if len(windows[-1]) + len(piece) > room:
                windows.append([])
            windows[-1] = windows[-1] + piece
    return windows[: rule.most]


def _read_in_a_step(units: list[list[int]], room: int, kind: Kind) -> float:
    shown = [min(len(unit), room) for unit in units]
    return float(sum(shown)) if kind == "sentences" else sum(shown) / len(shown)


def _never_read(body: list[int], units: list[list[int]], room: int, kind: Kind) -> int:
    if kind == "random_window":
        return 0
    if kind == "sentences":
        return max(0, len(body) - sum(len(unit) for unit in units))
    return sum(max(0, len(unit) - room) for unit in units)


def averaged(vectors: Tensor, owner: Tensor) -> Tensor:
    """The mean of the rows of `vectors` (m, width) with the same `owner`: (owners, width).

    Owners are 0, 1, 2 ... in order, each with at least one row.
    """
    # Gathered rather than added up in place, whose order CUDA does not fix.
    sizes = torch.bincount(owner)
    place = torch.arange(int(sizes.max()), device=owner.device)
    index = (sizes.cumsum(0) - sizes)[:, None] + place
    there = (place < sizes[:, None])[..., None]
    rows = vectors[index.clamp(max=len(vectors) - 1)]
    return torch.where(there, rows, torch.zeros_like(rows)).sum(dim=1) / sizes[:, None].to(vectors.dtype)


def read_windows(read: Read, *text: Tensor) -> Tensor:
    """What the tower says of each text: (vectors,) as they are, (ids, mask) read, (ids, mask, owner) read and averaged."""
    if len(text) == 1:
        return text[0]
    vectors = read(text[0], text[1])
    return vectors if len(text) == 2 else averaged(vectors, text[2])

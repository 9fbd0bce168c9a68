"""Search a cohort: by a text in one's own words, or by one of its records."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import ConfigError, EvaluationError, UnknownNameError
from medfm.core.files import write_text
from medfm.core.names import did_you_mean
from medfm.core.progress import ProgressMaker

if TYPE_CHECKING:
    from medfm.encoders.encoder import Encoder
    from medfm.evaluation.retrieval_index import Index


@dataclass(frozen=True)
class Hit:
    """One record that was found.

    Attributes:
        place: From 1.
        record_id: The record.
        cosine: With the query, -1 to 1; no probability.
        text: The record's text, where texts were asked for.
    """

    place: int
    record_id: str
    cosine: float
    text: str | None = None


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        query: The words, or the id of the record.
        hits: Best first.
        searched: Number of records searched.
        recall: Of an approximate index: its share of the exact 10 nearest, on a sample; else ``None``.
        failed: Records that could not be embedded.
        untrained: Whether the encoder's weights are random, so that the order means nothing.
        tokens: Of the words, special ones counted; ``None`` where a record was searched with.
        kept: How many of them reach the text tower.
        note: Why a search of so many records is exact all the same; ``None`` where nothing is to be said.
    """

    query: str
    hits: tuple[Hit, ...]
    searched: int
    recall: float | None = None
    failed: int = 0
    untrained: bool = False
    tokens: int | None = None
    kept: int | None = None
    note: str | None = None

    @property
    def cut(self) -> str | None:
        """What to say of words that are longer than the text tower takes; ``None`` where all of them are read."""
        if self.tokens is None or self.kept is None or self.kept >= self.tokens:
            return None
        return f"The query has {self.tokens} tokens; the text tower takes {self.kept}, and the rest was not read."

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "query": self.query,
            "searched": self.searched,
            "recall": self.recall,
            "failed": self.failed,
            "untrained": self.untrained,
            "tokens": self.tokens,
            "kept": self.kept,
            "note": self.note,
            "hits": [{k: v for k, v in vars(hit).items() if k != "text" or v is not None} for hit in self.hits],
        }

    def to_csv(self, path: str | Path) -> None:
        """Write place, record id, cosine (and text) as CSV, whole or not at all."""
        texts = any(hit.text is not None for hit in self.hits)
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["place", "record_id", "cosine", *(["text"] if texts else [])])
        for hit in self.hits:
            writer.writerow([hit.place, hit.record_id, f"{hit.cosine:.6f}", *([hit.text or ""] if texts else [])])
        write_text(path, stream.getvalue())


def search_table(
    table: str | Path,
    encoder: str | Encoder,
    *,
    query: str | None = None,
    like: str | None = None,
    top: int = 10,
    index: Index = "auto",
    show_text: bool = False,
    text: str = "text",
    weights: str | None = None,
    device: str = "auto",
    preprocessing: str | None = None,
    cohort: Mapping[str, Any] | None = None,
    embed_settings: Mapping[str, Any] | None = None,
    progress: ProgressMaker | None = None,
) -> Search:
    """The records of a cohort nearest to a text or to one of them.

    Args:
        table: The cohort's table.
        encoder: Encoder id, or a loaded encoder.
        query: Words to search for (needs a text tower); or
        like: the id of a record, which is itself left out of what is found.
        top: How many.
        index: ``"faiss"`` searches an approximate index and measures its recall; ``"auto"`` is exact for
            up to 10^10 records, since building an index takes longer than a single exact search.
        show_text: Give the records' texts as well.
        text: Column of the texts.
        weights: Checkpoint file, ``"random"``, or ``None`` for the card's own.
        device: ``"auto"`` or a torch device.
        preprocessing: Another preprocessing of the card.
        cohort: Arguments of :func:`medfm.load_cohort`.
        embed_settings: Settings of the embedding run.
        progress: Makes the progress displays.

    Raises:
        ConfigError: Neither or both of `query` and `like`, an empty query, or `top` below 1.
        UnknownNameError: No record has the id `like`.
        CardError: The encoder has no text tower.
        MissingExtraError: faiss is asked for and not installed.
    """
    from medfm.cohorts.load import load_cohort
    from medfm.embeddings.texts import embed_texts
    from medfm.encoders.load import load_encoder
    from medfm.evaluation.retrieval import clean_texts
    from medfm.evaluation.retrieval_index import choose_way
    from medfm.evaluation.retrieval_search import nearest, nearest_approximate
    from medfm.workflows.embed import embed
    from medfm.workflows.measured_search import mapped

    if (query is None) == (like is None):
        raise ConfigError("Search by words or by a record.", expected="one of --query TEXT and --like RECORD_ID")
    words = " ".join((query or "").split())
    if query is not None and not words:
        raise ConfigError("The query is empty.", expected='words, such as --query "atrial fibrillation"')
    if top < 1:
        raise ConfigError(f"{top} records were asked for.", expected="--top 1 or more")
    choose_way(index, 0)
    records = load_cohort(table, **dict(cohort or {}))
    ids = records.record_ids
    if like is not None and like not in set(ids):
        raise UnknownNameError(
            f"The cohort has no record '{like}'.", where=records.name, fix=did_you_mean(like, ids[:20_000])
        )
    texts = dict(zip(ids, clean_texts(records.column(text)), strict=True)) if show_text else {}
    loaded = (
        load_encoder(encoder, weights=weights, device=device, variant=preprocessing)
        if isinstance(encoder, str)
        else encoder
    )
    settings = dict(embed_settings or {})
    vector = embed_texts(loaded, [words], cache=settings.get("cache")) if query is not None else np.zeros((0, 0))
    vectors = mapped(embed(loaded, records, collect=False, progress=progress, **settings))
    if not len(vectors):
        raise EvaluationError("No record of the cohort has an embedding.", where=records.name)
    own = -1
    if like is not None:
        own = int(vectors.rows([like])[0])
        if own < 0:
            reason = next((f.reason for f in vectors.failures if f.record_id == like), "it has no embedding")
            raise EvaluationError(f"The record '{like}' cannot be searched with: {reason}")
        vector = vectors.values[own : own + 1]
    spec, tokens = loaded.card.spec.text, None if query is None else loaded.text_lengths([words])[0]
    way = choose_way(index, len(vectors))
    find = nearest_approximate if way.approximate else nearest
    found = find(vector, vectors.values, top + (own >= 0))
    hits = [
        (vectors.record_ids[row], float(cosine))
        for row, cosine in zip(found.rows[0].tolist(), found.cosines[0].tolist(), strict=True)
        if row >= 0 and row != own
    ][:top]
    return Search(
        query=words if like is None else like,
        hits=tuple(Hit(i, r, c, texts.get(r)) for i, (r, c) in enumerate(hits, start=1)),
        searched=len(vectors) - (own >= 0),
        recall=found.recall,
        failed=len(vectors.failures),
        untrained=str(loaded.weights_kind) == "random",
        tokens=tokens,
        kept=None if tokens is None or spec is None else min(tokens, spec.max_tokens),
        note=way.note or None,
    )

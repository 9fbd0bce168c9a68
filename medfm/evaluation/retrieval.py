"""Retrieval: records search texts, texts search records, records search records, all by cosine.

Published figures count only a record's own report as right, although several records may bear the
very same words; a search cannot tell these apart. Here equal texts are one text by default, and
every record with it is a right answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from medfm.core.errors import EvaluationError
from medfm.core.progress import Progress, ProgressMaker, Silent
from medfm.evaluation.predictions import MAIN, Predictions
from medfm.evaluation.retrieval_approximate import rank_queries_approximate
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_index import ApproximateSearch
from medfm.evaluation.retrieval_lists import rows_of
from medfm.evaluation.retrieval_metrics import columns, direction_words, headline, parts
from medfm.evaluation.retrieval_ranks import Ranks, Relevance, rank_queries
from medfm.evaluation.retrieval_ties import chance_figures, chance_median_rank

_CARRIED = ("record_id", "patient_id", "site", "age", "sex")


@dataclass(frozen=True)
class Texts:
    """The texts of n records, each different one once.

    Attributes:
        distinct: u texts in order of appearance.
        code: int64 (n,): which of them each record has.
    """

    distinct: tuple[str, ...]
    code: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Equal texts (after :func:`clean_texts`) get one code."""
        place: dict[str, int] = {}
        code = np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64)
        return cls(tuple(place), code)


def clean_texts(column: pd.Series) -> list[str]:
    """Texts with runs of white space as one space and none at the ends; ``""`` where one is missing."""
    return [" ".join(str(v).split()) if known else "" for v, known in zip(column, column.notna(), strict=True)]


def retrieval_predictions(
    values: np.ndarray,
    records: pd.DataFrame,
    method: Retrieval,
    *,
    texts: Texts | None = None,
    text_values: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    target: str = "text",
    carried: Sequence[str] = (),
    approximate: ApproximateSearch | None = None,
    aside: str = "",
    progress: ProgressMaker | None = None,
) -> tuple[Predictions, list[str]]:
    """Every record (and its text) as a query: its figures, one row per record, and notes for the reader.

    Args:
        values: (n, d) embeddings of records.
        records: n rows with ``record_id`` and ``patient_id``.
        method: What searches what.
        texts: The records' texts, for directions with texts.
        text_values: (u, d) embeddings of the distinct texts.
        labels: For ``record_to_record``: records with the same label answer each other; the same
            text when ``None``.
        target: What makes an answer right, for people.
        carried: Further columns of `records` for subgroup tables.
        approximate: List the nearest with an index of faiss instead of ranking all; its `trust` is
            filled. Ranks beyond the lists are infinite.
        aside: Said on the displays, such as how long it takes.
        progress: Makes the displays.

    Raises:
        EvaluationError: Sizes do not fit, texts or labels are missing, or no query has an answer.
    """
    _check(values, records, method, texts, text_values, labels)
    kept = [c for c in dict.fromkeys([*_CARRIED, *carried]) if c in records.columns]
    table = records[kept].reset_index(drop=True).assign(variant=MAIN, repeat=0, fold=0)
    if "site" not in table:
        table["site"] = None
    ids = table["record_id"].astype(str).to_numpy(dtype=object)
    found: dict[str, np.ndarray] = {}
    answered = np.ones(len(table), dtype=bool)
    search = partial(_search, method.k, approximate)
    depth = None if approximate is None else approximate.depth
    for direction in method.directions:
        title = direction_words(direction) + (f" ({aside})" if aside else "")
        with (progress or Silent)(f"searching, {title}", len(values), "queries") as shown:
            if direction == "record_to_record":
                groups = _codes(labels) if labels is not None else _given(texts).code
                owners = _codes(table["patient_id" if method.exclude == "patient" else "record_id"].astype(str))
                relevance = Relevance(groups, groups, owners, owners)
                ranks, names = search(direction, values, values, relevance, progress=shown), ids
            elif direction == "record_to_text":
                ranks, names = _to_texts(values, _given(texts), _array(text_values), method, ids, search, shown)
            else:
                ranks, names = _to_records(values, _given(texts), _array(text_values), method, search, shown), ids
        found |= _columns(direction, ranks, names)
        answered &= ~np.isnan(ranks.rank)
    if not answered.any():
        raise EvaluationError(
            "No query has a right answer among the candidates.",
            where=f"target '{target}'",
            expected="labels or texts that several records (of several patients) share",
        )
    notes = _notes(method, texts, answered)
    whole = pd.concat([table, pd.DataFrame(found)], axis=1)[answered].reset_index(drop=True)
    return Predictions(whole, "retrieval", columns(method.directions, method.k, depth), target), notes


def chances(predictions: Predictions, metrics: Sequence[str]) -> dict[str, float]:
    """What random orders would give for each of the `metrics`: metric -> value.

    Exact: the mean over the queries of the expectation of each; for the median rank the median of
    all queries' random ranks together.
    """
    made: dict[str, float] = {}
    kinds: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in metrics:
        split = parts(name)
        if split is None:
            continue
        direction, figure = split
        sizes = predictions.table[[f"{direction}:relevant", f"{direction}:candidates"]].to_numpy(np.int64)
        if figure == "median_rank":
            made[name] = chance_median_rank(sizes[:, 0], sizes[:, 1])
            continue
        if direction not in kinds:
            kinds[direction] = np.unique(sizes, axis=0, return_counts=True)
        pairs, counts = kinds[direction]
        values = [_chance(figure, int(r), int(m)) for r, m in pairs]
        made[name] = float(np.average(values, weights=counts))
    return made


def headline_metrics(method: Retrieval, depth: int | None = None) -> tuple[str, ...]:
    """The metrics that say something new: with one right answer, mAP is MRR and P@k is R@k / k.

    `depth` is that of an approximate search's lists.
    """
    names = []
    for direction in method.directions:
        single = direction == "record_to_text" or (direction == "text_to_record" and method.texts == "one_to_one")
        for name in headline((direction,), method.k, depth):
            figure = name[len(direction) + 1 :].partition("@")[0]
            if not (figure in ("map", "p") if single else figure == "mrr"):
                names.append(name)
    return tuple(names)


def _chance(figure: str, relevant: int, candidates: int) -> float:
    name, _, depth = figure.partition("@")
    to = int(depth) if depth and name in ("map", "mrr") else None
    found = chance_figures(relevant, candidates, (1 if to else int(depth or 1),), depth=to)
    return {"r": found.hits[0], "p": found.precision[0], "map": found.ap, "mrr": found.reciprocal}[name]


def _search(
    k: Sequence[int],
    approximate: ApproximateSearch | None,
    direction: str,
    queries: np.ndarray,
    candidates: np.ndarray,
    relevance: Relevance,
    progress: Progress | None = None,
) -> Ranks:
    if approximate is None:
        return rank_queries(queries, candidates, relevance, k=k, progress=progress)
    ranks, approximate.trust[direction] = rank_queries_approximate(
        queries, candidates, relevance, k=k, depth=approximate.depth, seed=approximate.seed, progress=progress
    )
    return ranks


def _to_texts(
    values: np.ndarray,
    texts: Texts,
    vectors: np.ndarray,
    method: Retrieval,
    ids: np.ndarray,
    search: Callable[..., Ranks],
    progress: Progress,
) -> tuple[Ranks, np.ndarray]:
    """Records search texts; the names of the candidates are those of the first records that bear them."""
    if method.texts == "one_to_one":
        own = np.arange(len(values))
        given = rows_of(vectors, texts.code)
        return search("record_to_text", values, given, Relevance(own, own), progress=progress), ids
    candidates = np.arange(len(texts.distinct))
    first = np.unique(texts.code, return_index=True)[1]
    ranks = search("record_to_text", values, vectors, Relevance(texts.code, candidates), progress=progress)
    return ranks, ids[first]


def _to_records(
    values: np.ndarray,
    texts: Texts,
    vectors: np.ndarray,
    method: Retrieval,
    search: Callable[..., Ranks],
    progress: Progress,
) -> Ranks:
    """Each record's text searches records; a text that several records share is searched once."""
    if method.texts == "one_to_one":
        own = np.arange(len(values))
        return search("text_to_record", rows_of(vectors, texts.code), values, Relevance(own, own), progress=progress)
    queries = np.arange(len(texts.distinct))
    ranks = search("text_to_record", vectors, values, Relevance(queries, texts.code))
    progress.advance(len(values))
    spread = {
        name: getattr(ranks, name)[texts.code] for name in Ranks.__dataclass_fields__ if name not in ("k", "depth")
    }
    return replace(ranks, **spread)


def _columns(direction: str, ranks: Ranks, names: np.ndarray) -> dict[str, np.ndarray]:
    to = "" if ranks.depth is None else f"@{ranks.depth}"
    made: dict[str, Any] = {f"{direction}:rank": ranks.rank}
    made |= {f"{direction}:reciprocal{to}": ranks.reciprocal, f"{direction}:ap{to}": ranks.ap}
    for i, depth in enumerate(ranks.k):
        made[f"{direction}:hit@{depth}"] = ranks.hits[:, i]
        made[f"{direction}:precision@{depth}"] = ranks.precision[:, i]
    made[f"{direction}:relevant"], made[f"{direction}:candidates"] = ranks.relevant, ranks.candidates
    made[f"{direction}:nearest"] = np.where(ranks.nearest >= 0, names[ranks.nearest], None)
    return made


def _notes(method: Retrieval, texts: Texts | None, answered: np.ndarray) -> list[str]:
    notes = []
    if texts is not None:
        counts = np.bincount(texts.code)
        shared = int(counts[counts > 1].sum())
        if shared and method.texts == "grouped":
            notes.append(
                f"{shared} of {len(texts.code)} records share their text with another: equal texts count as one, so "
                f"{len(texts.distinct)} texts are searched, and every record with the text is a right answer."
            )
        elif shared:
            notes.append(
                f"{shared} of {len(texts.code)} records share their text with another, and only a record's own text "
                "counts as right, as papers count: no encoder can reach 1, for equal texts are in random order."
            )
    lost = int((~answered).sum())
    if lost:
        notes.append(f"{lost} of {len(answered)} records have no right answer among the candidates and ask nothing.")
    return notes


def _codes(values: Sequence[str] | pd.Series) -> np.ndarray:
    return np.unique(np.asarray(values, dtype=str), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _given(texts: Texts | None) -> Texts:
    if texts is None:
        raise EvaluationError("This search needs texts or labels.", expected="texts, or labels for record_to_record")
    return texts


def _array(values: np.ndarray | None) -> np.ndarray:
    if values is None:
        raise EvaluationError("This search needs the embeddings of the texts.")
    return values


def _check(
    values: np.ndarray,
    records: pd.DataFrame,
    method: Retrieval,
    texts: Texts | None,
    text_values: np.ndarray | None,
    labels: Sequence[str] | None,
) -> None:
    sizes = {"embeddings": len(values), "records": len(records)}
    sizes |= {"texts": len(texts.code)} if texts is not None else {}
    sizes |= {"labels": len(labels)} if labels is not None else {}
    if len(set(sizes.values())) > 1:
        raise EvaluationError(
            "The sizes differ: " + ", ".join(f"{n} {what}" for what, n in sizes.items()) + ".",
            expected="the same records in the same order",
        )
    if any("text" in direction for direction in method.directions):
        if "" in _given(texts).distinct:
            raise EvaluationError("A record has an empty text.", fix="leave records without a text out")
        if len(_array(text_values)) != len(_given(texts).distinct):
            raise EvaluationError("There is not one embedding for each distinct text.")

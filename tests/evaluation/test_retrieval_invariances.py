"""What must not change the figures of a search, and what they must be to each other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from medfm.evaluation.metrics import evaluate
from medfm.evaluation.retrieval import Texts, chances, headline_metrics, retrieval_predictions
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_metrics import columns, headline, parts, specs
from medfm.evaluation.retrieval_ranks import Bank, Ranks, Relevance, rank_queries
from medfm.evaluation.retrieval_search import nearest

SEEDS = st.integers(0, 10_000)
DEPTHS = (1, 5, 10, 20)
FIGURES = ("rank", "reciprocal", "ap", "hits", "precision", "relevant", "candidates")


def case(seed: int, n: int = 12, m: int = 17, groups: int = 4, ties: bool = False) -> tuple[np.ndarray, ...]:
    """Queries, candidates (small whole numbers where ties are wanted), and their groups."""
    rng = np.random.default_rng(seed)
    if ties:
        queries, candidates = rng.integers(1, 3, (n, 3)), rng.integers(1, 3, (m, 3))
    else:
        queries, candidates = rng.normal(size=(n, 5)), rng.normal(size=(m, 5))
    return (
        queries.astype(np.float32),
        candidates.astype(np.float32),
        rng.integers(0, groups, n),
        rng.integers(0, groups, m),
    )


def same(a: Ranks, b: Ranks, names: tuple[str, ...] = FIGURES, tolerance: float = 1e-9) -> None:
    for name in names:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=tolerance, err_msg=name)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, ties=st.booleans())
def test_the_order_of_the_candidates_does_not_matter_even_where_they_tie(seed: int, ties: bool) -> None:
    queries, candidates, asked, answers = case(seed, ties=ties)
    order = np.random.default_rng(seed + 1).permutation(len(candidates))
    first = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    second = rank_queries(queries, candidates[order], Relevance(asked, answers[order]), k=DEPTHS)
    same(first, second)
    if not ties:
        np.testing.assert_array_equal(order[second.nearest], first.nearest)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_each_query_is_answered_on_its_own(seed: int) -> None:
    queries, candidates, asked, answers = case(seed)
    together = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    order = np.random.default_rng(seed).permutation(len(queries))[:5]
    alone = rank_queries(queries[order], candidates, Relevance(asked[order], answers), k=DEPTHS)
    for name in FIGURES:
        np.testing.assert_allclose(getattr(together, name)[order], getattr(alone, name), err_msg=name)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, power=st.integers(-20, 20))
def test_lengths_do_not_matter(seed: int, power: int) -> None:
    """Powers of two leave every digit of a float as it is, so nothing may move at all."""
    queries, candidates, asked, answers = case(seed)
    rng = np.random.default_rng(seed)
    scales = 2.0 ** rng.integers(-5, 5, len(queries))[:, None] * 2.0**power
    first = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    second = rank_queries((queries * scales).astype(np.float32), candidates, Relevance(asked, answers), k=DEPTHS)
    same(first, second, (*FIGURES, "nearest"), 0)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_rotation_of_the_space_does_not_matter(seed: int) -> None:
    queries, candidates, asked, answers = case(seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))
    cosines = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    ).T
    assume(np.diff(np.sort(cosines, axis=1), axis=1).min() > 1e-5)
    first = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    second = rank_queries(
        (queries @ turn).astype(np.float32), (candidates @ turn).astype(np.float32), Relevance(asked, answers), k=DEPTHS
    )
    same(first, second, (*FIGURES, "nearest"))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, ties=st.booleans())
def test_names_of_groups_do_not_matter(seed: int, ties: bool) -> None:
    queries, candidates, asked, answers = case(seed, ties=ties)
    names = np.random.default_rng(seed).permutation(50)[:4] - 25
    first = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    second = rank_queries(queries, candidates, Relevance(names[asked], names[answers]), k=DEPTHS)
    same(first, second, (*FIGURES, "nearest"), 0)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, ties=st.booleans())
def test_figures_fit_each_other(seed: int, ties: bool) -> None:
    queries, candidates, asked, answers = case(seed, groups=6, ties=ties)
    found = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    known = found.relevant > 0
    assert np.isnan(found.rank[~known]).all() and np.isnan(found.hits[~known]).all()
    rank, reciprocal, ap = found.rank[known], found.reciprocal[known], found.ap[known]
    hits, precision, relevant = found.hits[known], found.precision[known], found.relevant[known]
    assert (rank >= 1).all() and (rank <= len(candidates) - relevant + 1 + 1e-9).all()
    # The mean of 1 / rank is at least 1 / the mean rank (Jensen).
    assert (reciprocal >= 1 / rank - 1e-12).all() and (reciprocal <= 1 + 1e-12).all()
    assert (ap > 0).all() and (ap <= 1 + 1e-12).all()
    for shallow, deep in pairwise(range(len(DEPTHS))):
        assert (hits[:, deep] >= hits[:, shallow] - 1e-12).all()
        counts = precision * np.array(DEPTHS)
        assert (counts[:, deep] >= counts[:, shallow] - 1e-9).all()
    # At depth 1 a hit is a share of one; at a depth beyond all candidates everything is found.
    np.testing.assert_allclose(hits[:, 0], precision[:, 0])
    np.testing.assert_allclose(hits[:, -1], 1.0)
    np.testing.assert_allclose(precision[:, -1] * 20, relevant)
    single = relevant == 1
    np.testing.assert_allclose(ap[single], reciprocal[single])
    # A chance of a hit is never above the expected number of right answers.
    assert (hits <= precision * np.array(DEPTHS) + 1e-9).all()


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_average_precision_is_that_of_sklearn(seed: int) -> None:
    queries, candidates, asked, answers = case(seed)
    found = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    cosines = Bank.of(candidates).cosines(queries)
    assume(all(len(np.unique(row)) == len(row) for row in cosines))
    relevant = answers[None] == asked[:, None]
    rows = relevant.any(axis=1)
    assume(rows.any())
    each = [average_precision_score(r, s) for r, s in zip(relevant[rows], cosines[rows], strict=True)]
    np.testing.assert_allclose(found.ap[rows], each, atol=1e-9)
    mean = label_ranking_average_precision_score(relevant[rows], cosines[rows])
    assert found.ap[rows].mean() == pytest.approx(mean, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_owners_left_out_are_as_good_as_deleted(seed: int) -> None:
    queries, candidates, asked, answers = case(seed)
    rng = np.random.default_rng(seed)
    own, theirs = rng.integers(0, 3, len(queries)), rng.integers(0, 3, len(candidates))
    found = rank_queries(queries, candidates, Relevance(asked, answers, own, theirs), k=DEPTHS)
    for row in range(len(queries)):
        kept = np.flatnonzero(theirs != own[row])
        if not len(kept):
            assert found.candidates[row] == 0 and np.isnan(found.rank[row])
            continue
        alone = rank_queries(
            queries[row : row + 1], candidates[kept], Relevance(asked[row : row + 1], answers[kept]), k=DEPTHS
        )
        for name in FIGURES:
            np.testing.assert_allclose(getattr(found, name)[row], getattr(alone, name)[0], err_msg=name, atol=1e-9)
        assert found.nearest[row] == kept[alone.nearest[0]]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, top=st.integers(1, 20))
def test_the_nearest_of_the_list_is_the_nearest_of_the_ranking(seed: int, top: int) -> None:
    queries, candidates, asked, answers = case(seed)
    listed = nearest(queries, candidates, top)
    ranked = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    np.testing.assert_array_equal(listed.rows[:, 0], ranked.nearest)
    shown = min(top, len(candidates))
    assert (np.diff(listed.cosines[:, :shown], axis=1) <= 0).all()
    assert (listed.rows[:, shown:] == -1).all() and np.isnan(listed.cosines[:, shown:]).all()
    for row in listed.rows[:, :shown]:
        assert len(set(row.tolist())) == shown
    # A deeper list begins with the shallower one.
    deeper = nearest(queries, candidates, top + 3)
    np.testing.assert_array_equal(deeper.rows[:, :shown], listed.rows[:, :shown])


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_adding_a_wrong_answer_never_helps(seed: int) -> None:
    queries, candidates, asked, answers = case(seed)
    before = rank_queries(queries, candidates, Relevance(asked, answers), k=DEPTHS)
    extra = np.random.default_rng(seed).normal(size=(1, 5)).astype(np.float32)
    after = rank_queries(queries, np.vstack([candidates, extra]), Relevance(asked, np.append(answers, 99)), k=DEPTHS)
    known = before.relevant > 0
    assert (after.rank[known] >= before.rank[known]).all()
    assert (after.ap[known] <= before.ap[known] + 1e-12).all()
    assert (after.hits[known] <= before.hits[known] + 1e-12).all()


def records(n: int) -> pd.DataFrame:
    return pd.DataFrame({"record_id": [f"r{i}" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)]})


def test_chance_of_one_answer_has_closed_forms() -> None:
    """One right answer among m: R@k = k / m, MRR = H(m) / m, the median rank the middle."""
    n = 40
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, 8)).astype(np.float32)
    texts = Texts.of([f"report {i}" for i in range(n)])
    found, _ = retrieval_predictions(values, records(n), Retrieval(), texts=texts, text_values=values)
    made = chances(found, ["record_to_text_r@5", "record_to_text_mrr", "record_to_text_median_rank", "auroc"])
    assert made["record_to_text_r@5"] == pytest.approx(5 / n)
    assert made["record_to_text_mrr"] == pytest.approx(sum(1 / i for i in range(1, n + 1)) / n)
    assert made["record_to_text_median_rank"] == pytest.approx(n / 2)
    assert "auroc" not in made  # no figure of a search
    assert evaluate(found, ["record_to_text_r@1"])["record_to_text_r@1"] == 1.0


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_the_records_does_not_change_the_figures(seed: int) -> None:
    n = 24
    rng = np.random.default_rng(seed)
    words = [f"report {i}" for i in rng.integers(0, 10, n)]
    vectors = {text: rng.normal(size=6).astype(np.float32) for text in sorted(set(words))}
    values = rng.normal(size=(n, 6)).astype(np.float32)
    method = Retrieval(directions=("record_to_text", "text_to_record", "record_to_record"))
    metrics = headline_metrics(method)

    def figures(order: np.ndarray) -> dict[str, float]:
        texts = Texts.of([words[i] for i in order])
        found, _ = retrieval_predictions(
            values[order],
            records(n).iloc[order],
            method,
            texts=texts,
            text_values=np.stack([vectors[t] for t in texts.distinct]),
        )
        return evaluate(found, metrics)

    first, second = figures(np.arange(n)), figures(rng.permutation(n))
    assert first == pytest.approx(second, nan_ok=True)


def test_every_column_has_a_metric_and_every_metric_a_column() -> None:
    names = [name for name, *_ in specs()]
    assert len(set(names)) == len(names)
    for direction in ("record_to_text", "text_to_record", "record_to_record"):
        for name in headline((direction,), (1, 5, 100)):
            assert name in names
            split = parts(name)
            assert split is not None and split[0] == direction
    made = columns(("record_to_text",), (1, 5))
    assert len(made) == 3 + 2 * 2 and all(one.startswith("record_to_text:") for one in made)
    assert parts("auroc_macro") is None and parts("record_to_texts") is None


def test_lower_is_better_for_the_median_rank_alone() -> None:
    lower = {name for name, _, _, is_lower, _ in specs() if is_lower}
    assert lower == {f"{d}_median_rank" for d in ("record_to_text", "text_to_record", "record_to_record")}

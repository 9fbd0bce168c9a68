"""Figures to a depth: against every order of small sets, and against the figures without a depth."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfm.evaluation.metrics import metric
from medfm.evaluation.retrieval import headline_metrics
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_metrics import columns, headline, list_depth, parts
from medfm.evaluation.retrieval_ties import chance_figures, query_figures
from medfm.reporting.retrieval_words import retrieval_words


def brute(scores: list[int], relevant: list[bool], k: int, depth: int) -> tuple[float, float, float, float]:
    """Means over all orders among equal scores of: 1 / rank, AP to the depth, hit@k, precision@k."""
    rows = []
    for order in permutations(range(len(scores))):
        if any(scores[a] < scores[b] for a, b in pairwise(order)):
            continue
        hits = [relevant[i] for i in order]
        first = hits.index(True) + 1
        ap = sum(sum(hits[: i + 1]) / (i + 1) for i in range(min(depth, len(hits))) if hits[i])
        ap /= min(depth, sum(hits))
        rows.append((1 / first if first <= depth else 0.0, ap, any(hits[:k]), sum(hits[:k]) / k))
    return tuple(np.mean(rows, axis=0))


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), st.integers(1, 6), st.data())
def test_equals_the_mean_over_all_orders(pairs: list[tuple[int, bool]], depth: int, data: st.DataObject) -> None:
    scores, relevant = [list(v) for v in zip(*pairs, strict=True)]
    if not any(relevant):
        relevant[0] = True
    k = data.draw(st.integers(1, depth))
    own = [s for s, r in zip(scores, relevant, strict=True) if r]
    above = np.array([sum(o > s for o in scores) for s in own])
    tied = np.array([sum(o == s for o in scores) for s in own])
    whole = query_figures(above, tied, (k,), depth=depth)
    inside = above < depth  # what a list of that depth can name
    listed = query_figures(above[inside], tied[inside], (k,), depth=depth, relevant=len(own))
    for made in (whole, listed):
        expected = brute(scores, relevant, k, depth)
        np.testing.assert_allclose([made.reciprocal, made.ap, made.hits[0], made.precision[0]], expected, atol=1e-12)
    assert listed.rank == whole.rank and (np.isinf(whole.rank) or whole.rank <= depth)


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 60))
def test_chance_to_a_depth(relevant: int, others: int, depth: int) -> None:
    size = relevant + others
    made = chance_figures(relevant, size, (1,), depth=depth)
    whole = chance_figures(relevant, size, (1,))
    assert 0 < made.reciprocal <= whole.reciprocal + 1e-12
    if depth >= size:
        assert (made.ap, made.reciprocal, made.rank) == pytest.approx((whole.ap, whole.reciprocal, whole.rank))
    # By the sum over places: place i holds an answer, and those before it their share of the others.
    chain = [(1 + (i - 1) * (relevant - 1) / max(size - 1, 1)) / i for i in range(1, min(depth, size) + 1)]
    assert made.ap == pytest.approx(sum(chain) * relevant / size / min(depth, relevant))


def test_a_query_without_an_answer_on_its_list_is_beyond() -> None:
    made = query_figures(np.zeros(0, int), np.zeros(0, int), (1, 5), depth=10, relevant=3)
    assert np.isinf(made.rank) and made.reciprocal == made.ap == 0 and made.hits == made.precision == (0.0, 0.0)


def test_names_say_how_far_was_looked() -> None:
    assert [list_depth(k) for k in ((1, 5), (100,), (1, 200))] == [100, 100, 200]
    assert columns(("record_to_text",), (1,), 100) == (
        "record_to_text:reciprocal@100", "record_to_text:ap@100", "record_to_text:hit@1", "record_to_text:precision@1",
    )  # fmt: skip
    names = headline(("record_to_record",), (1, 5), 200)
    assert "record_to_record_map@200" in names and not any(n.endswith(("map", "mrr", "median_rank")) for n in names)
    assert headline_metrics(Retrieval(directions=("record_to_record",)), 100) == tuple(
        f"record_to_record_{n}" for n in ("r@1", "r@5", "r@10", "map@100", "p@5", "p@10")
    )
    assert headline_metrics(Retrieval(directions=("record_to_text",)), 100)[-1] == "record_to_text_mrr@100"
    for name in names:
        assert parts(name) is not None and metric(name, "retrieval").name == name
    title, meaning = retrieval_words("record_to_text_map@100") or ("", "")
    assert title == "mAP@100, record to text" and "Only the first 100 places count" in meaning
    title, meaning = retrieval_words("record_to_text_map") or ("", "")
    assert title == "mAP, record to text" and "places count" not in meaning

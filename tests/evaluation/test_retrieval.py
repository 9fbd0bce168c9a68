"""Retrieval predictions, their chance level, their summary and their paired comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from medfm.core.errors import EvaluationError, UnknownNameError
from medfm.evaluation.metrics import evaluate, metric
from medfm.evaluation.metrics_outcomes import Outcomes, Weighted
from medfm.evaluation.paired import compare_pair, match
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import StatisticsPlan, list_protocols, load_protocol
from medfm.evaluation.retrieval import Texts, chances, clean_texts, headline_metrics, retrieval_predictions
from medfm.evaluation.retrieval_config import Retrieval
from medfm.evaluation.retrieval_summary import summarise_retrieval

N = 60
PLAN = StatisticsPlan(resamples=200, minimum_cell=5)


def table(n: int = N) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"P{i // 2}" for i in range(n)],
            "site": ["a" if i % 3 else "b" for i in range(n)],
            "sex": ["F" if i % 2 else "M" for i in range(n)],
        }
    )


def case(noise: float, seed: int = 0, n: int = N) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    texts = Texts.of([f"report {i // 3}" if i < 30 else f"report of {i}" for i in range(n)])
    vectors = np.random.default_rng(99).normal(size=(len(texts.distinct), 16)).astype(np.float32)
    values = vectors[texts.code] + noise * rng.normal(size=(n, 16)).astype(np.float32)
    return {"values": values.astype(np.float32), "records": table(n), "texts": texts, "text_values": vectors}


def predicted(noise: float = 1.0, method: Retrieval | None = None, **changes: object) -> tuple[Predictions, list[str]]:
    return retrieval_predictions(**{**case(noise), "method": method or Retrieval(), **changes})  # type: ignore[arg-type]


def test_texts_are_grouped_after_cleaning() -> None:
    texts = clean_texts(pd.Series(["a  b", " a b\n", None, np.nan, "c", 7]))
    assert texts == ["a b", "a b", "", "", "c", "7"]
    assert Texts.of(texts).code.tolist() == [0, 0, 1, 1, 2, 3]


def test_a_perfect_encoder_is_perfect_where_equal_texts_count_as_one() -> None:
    found, notes = predicted(0.001)
    values = evaluate(found, headline_metrics(Retrieval()))
    assert values["record_to_text_r@1"] == values["text_to_record_r@1"] == values["text_to_record_map"] == 1.0
    assert values["record_to_text_median_rank"] == 1.0
    assert "30 of 60 records share their text" in notes[0] and "40 texts" in notes[0]
    assert set(found.table["record_to_text:candidates"]) == {40}
    assert found.table["text_to_record:relevant"].value_counts().to_dict() == {3: 30, 1: 30}


def test_one_to_one_cannot_tell_equal_texts_apart() -> None:
    found, notes = predicted(0.001, Retrieval(texts="one_to_one"))
    strict = evaluate(found, ["record_to_text_r@1", "text_to_record_r@1", "record_to_text_r@5"])
    # Half of the records share a text with two others: one chance in three.
    assert strict["record_to_text_r@1"] == pytest.approx(0.5 + 0.5 / 3)
    assert strict["record_to_text_r@5"] == 1.0
    assert "as papers count" in notes[0]
    assert set(found.table["record_to_text:candidates"]) == {N}


@pytest.mark.parametrize("texts", ["grouped", "one_to_one"])
def test_equals_a_naive_count(texts: str) -> None:
    made = case(1.2)
    found, _ = predicted(1.2, Retrieval(texts=texts))  # type: ignore[arg-type]
    values, vectors, code = (np.asarray(v, float) for v in (made["values"], made["text_values"], made["texts"].code))  # type: ignore[attr-defined]
    code = code.astype(int)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    matrix = np.round(unit(values) @ unit(vectors).T, 6)
    for i in range(N):
        to_record = np.argsort(-matrix[:, code[i]], kind="stable")
        right = code[to_record] == code[i] if texts == "grouped" else to_record == i
        assert found.table["text_to_record:rank"][i] == 1 + np.flatnonzero(right)[0]
        if texts == "grouped":
            assert found.table["record_to_text:rank"][i] == 1 + np.sum(matrix[i] > matrix[i, code[i]])
    assert list(found.table["record_id"]) == [f"r{i}" for i in range(N)]


def test_records_search_records_of_other_patients() -> None:
    labels = ["x" if i % 4 < 2 else "y" for i in range(N)]
    method = Retrieval(directions=("record_to_record",))
    found, _ = predicted(1.0, method, labels=labels, texts=None, text_values=None, target="label")
    assert set(found.table["record_to_record:candidates"]) == {N - 2}
    assert set(found.table["record_to_record:relevant"]) == {28}
    near = dict(zip(found.table["record_id"], found.table["record_to_record:nearest"], strict=True))
    assert all(int(a[1:]) // 2 != int(b[1:]) // 2 for a, b in near.items())
    own, _ = predicted(1.0, method.model_copy(update={"exclude": "self"}), labels=labels, texts=None, text_values=None)
    assert set(own.table["record_to_record:candidates"]) == {N - 1}


def test_queries_without_an_answer_ask_nothing() -> None:
    method = Retrieval(directions=("record_to_record",))
    labels = ["only"] * 2 + ["x"] * (N - 2)
    found, notes = predicted(1.0, method, labels=labels, texts=None, text_values=None)
    assert len(found) == N - 2 and "2 of 60 records have no right answer" in notes[0]
    with pytest.raises(EvaluationError, match="No query has a right answer"):
        predicted(1.0, method, labels=[f"l{i}" for i in range(N)], texts=None, text_values=None)


def test_chance_is_what_shuffled_vectors_give() -> None:
    names = headline_metrics(Retrieval())
    expected = chances(predicted(1.0)[0], names)
    drawn = []
    for seed in range(150):
        values = np.random.default_rng(seed).normal(size=(N, 16)).astype(np.float32)
        drawn.append(list(evaluate(predicted(1.0, values=values)[0], names).values()))
    mean, error = np.mean(drawn, axis=0), np.std(drawn, axis=0) / np.sqrt(150)
    for name, value, spread in zip(names, mean, error, strict=True):
        slack = 1.0 if name.endswith("median_rank") else 0.002
        assert abs(value - expected[name]) < 4 * spread + slack, name


def test_the_summary_has_intervals_and_sites() -> None:
    found, notes = predicted(1.5)
    names = headline_metrics(Retrieval())
    summary = summarise_retrieval(found, PLAN.model_copy(update={"subgroups": ("sex",)}), names, said=notes)
    first = summary.headline[0]
    assert [e.metric for e in summary.headline] == list(names) and first.low is not None
    assert first.low <= first.value <= first.high and first.n_patients == 30 and "patient-clustered" in first.method
    assert {row.value for row in summary.sites} == {"a", "b"} and len(summary.subgroups) == 2
    assert all("_r@" in e.metric for row in summary.sites for e in row.estimates)
    assert notes[0] in summary.notes and summary.classes == ()
    assert summary == summarise_retrieval(found, PLAN.model_copy(update={"subgroups": ("sex",)}), names, said=notes)


def test_weights_count_like_repeated_rows() -> None:
    found, _ = predicted(1.5)
    counts = np.random.default_rng(0).integers(0, 4, N)
    outcomes = Outcomes.of(found)
    repeated = outcomes.take(np.repeat(np.arange(N), counts))
    names = [*headline_metrics(Retrieval()), "record_to_text_map", "text_to_record_mrr"]
    for name in names:
        compute = metric(name, "retrieval").compute
        weighted = compute(Weighted(outcomes, np.stack([counts, np.zeros(N)], axis=1).astype(np.float32)))
        plain = compute(Weighted(repeated, np.ones((len(repeated), 1))))
        assert weighted[0] == pytest.approx(plain[0], rel=1e-6) and np.isnan(weighted[1]), name
    ranks = np.repeat(found.table["record_to_text:rank"], counts)
    assert metric("record_to_text_median_rank", "retrieval").compute(Weighted(outcomes, counts[:, None].astype(float)))[
        0
    ] == np.median(ranks)


def test_two_encoders_are_compared_query_by_query() -> None:
    better, worse = predicted(0.5)[0], predicted(2.5)[0]
    pair = match(worse, better)
    chosen = [metric(n, "retrieval") for n in ("record_to_text_r@1", "record_to_text_median_rank")]
    rows = compare_pair(pair, chosen, PLAN)
    assert rows[0].difference > 0.2 and rows[0].low > 0 and rows[0].better == "higher"  # type: ignore[operator]
    assert rows[1].difference < 0 and rows[1].better == "lower"  # type: ignore[operator]
    same = compare_pair(match(better, better), chosen, PLAN)
    assert same[0].difference == 0
    strict = predicted(0.5, Retrieval(texts="one_to_one"))[0]
    with pytest.raises(EvaluationError, match="another truth"):
        match(better, strict)
    with pytest.raises(EvaluationError, match="differ in classes"):
        match(better, predicted(0.5, Retrieval(k=(1, 5)))[0])


def test_hostile_inputs() -> None:
    with pytest.raises(EvaluationError, match="sizes differ"):
        predicted(records=table(5))
    with pytest.raises(EvaluationError, match="empty text"):
        predicted(texts=Texts.of(["", *(f"t{i}" for i in range(N - 1))]), text_values=np.ones((N, 16)))
    with pytest.raises(EvaluationError, match="one embedding for each"):
        predicted(text_values=np.ones((3, 16)))
    with pytest.raises(EvaluationError, match="needs texts"):
        predicted(texts=None)
    with pytest.raises(EvaluationError, match="no figures"):
        evaluate(predicted()[0], ["record_to_record_r@1"])
    with pytest.raises(UnknownNameError):
        evaluate(predicted()[0], ["record_to_text_r@7"])
    for bad in ({"k": [3]}, {"k": [1, 1]}, {"directions": []}, {"directions": ["up"]}, {"texts": "x"}):
        with pytest.raises(ValidationError):
            Retrieval.model_validate(bad)


def test_one_record_is_found_and_has_no_interval() -> None:
    found, _ = retrieval_predictions(
        np.ones((1, 4), np.float32), table(1), Retrieval(), texts=Texts.of(["a"]), text_values=np.ones((1, 4))
    )
    summary = summarise_retrieval(found, PLAN, headline_metrics(Retrieval()))
    assert summary.headline[0].value == 1.0 and summary.headline[0].low is None


def test_the_shipped_protocols() -> None:
    shipped = [load_protocol(name) for name in list_protocols() if name.startswith("retrieval")]
    assert [p.id for p in shipped] == ["retrieval-one-to-one@1", "retrieval-records@1", "retrieval@1"]
    assert all(isinstance(p.method, Retrieval) for p in shipped)


def test_the_depths_of_quiltnets_tables() -> None:
    method = load_protocol("quilt-retrieval@1").method
    assert isinstance(method, Retrieval) and method.k == (1, 50, 200) and method.texts == "one_to_one"
    names = headline_metrics(method)
    assert [n for n in names if "_r@" in n] == [
        f"{d}_r@{k}" for d in ("record_to_text", "text_to_record") for k in (1, 50, 200)
    ]


def test_a_depth_beyond_the_candidates_finds_everything() -> None:
    rng = np.random.default_rng(3)
    values, words = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=(60, 5)).astype(np.float32)
    method = load_protocol("quilt-retrieval@1").method
    assert isinstance(method, Retrieval)
    texts = Texts.of([f"t{i}" for i in range(60)])
    found, _ = retrieval_predictions(values, table(60), method, texts=texts, text_values=words)
    made = evaluate(found, headline_metrics(method))
    unit = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in (values, words)]
    cosines = unit[0] @ unit[1].T
    for direction, scores in (("record_to_text", cosines), ("text_to_record", cosines.T)):
        ranks = (scores > np.diag(scores)[:, None]).sum(axis=1) + 1
        assert made[f"{direction}_r@200"] == 1.0
        assert made[f"{direction}_r@50"] == pytest.approx((ranks <= 50).mean())
        assert made[f"{direction}_r@1"] == pytest.approx((ranks == 1).mean())

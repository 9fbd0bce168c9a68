"""Attentive and moment probes against naive computations and a planted signal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adapter_data import shot_fold, token_set

from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.adapters.attentive import fit_attentive, score_attentive
from medfm.evaluation.adapters.inputs import AdapterInputs
from medfm.evaluation.adapters.moments import moment_features, random_projection
from medfm.evaluation.adapters.run import run_few_shot
from medfm.evaluation.protocol_adapters import AttentiveProbe, MomentProbe, Training
from medfm.evaluation.target import Target

CPU = torch.device("cpu")


def fit(tokens, y, rows, **settings):
    training = Training(epochs=settings.pop("epochs", 40), batch_size=8, lr=0.02)
    method = AttentiveProbe(training=training, **settings)
    sources = [np.random.default_rng(i) for i in range(len(rows))]
    return fit_attentive(tokens, rows, y, 2, method, sources, CPU)


FORMS = [{"form": "single"}, {"form": "multi", "queries": 2, "width": 8}]


@pytest.mark.parametrize("form", FORMS, ids=["single", "multi"])
def test_logits_equal_a_naive_loop(form):
    tokens, y, _ = token_set(12)
    probes = fit(tokens, y, np.arange(8).reshape(2, 4), epochs=3, **form)
    found = probes.logits(torch.from_numpy(tokens[:5]))
    attention = probes.attention(torch.from_numpy(tokens[:5]))
    np.testing.assert_allclose(attention.sum(-1).numpy(), 1, atol=1e-5)
    for p in range(2):
        for m in range(5):
            z = (tokens[m] - probes.mean[p].numpy()) / probes.spread[p].numpy()
            pooled = []
            for q, query in enumerate(probes.query[p].numpy()):
                weights = np.exp(z @ query / np.sqrt(6))
                weights /= weights.sum()
                values = z
                if probes.value is not None:
                    width = 8 // 2
                    values = z @ probes.value[p].numpy()[:, q * width : (q + 1) * width]
                pooled.append(weights @ values)
            expected = probes.weight[p].numpy() @ np.concatenate(pooled) + probes.bias[p].numpy()
            np.testing.assert_allclose(found[p, m].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("form", FORMS, ids=["single", "multi"])
def test_trained_together_equals_trained_alone(form):
    tokens, y, _ = token_set(24)
    rows = np.arange(16).reshape(2, 8)
    both = fit(tokens, y, rows, epochs=4, **form)
    method = AttentiveProbe(training=Training(epochs=4, batch_size=8, lr=0.02), **form)
    for p in range(2):
        alone = fit_attentive(tokens, rows[p : p + 1], y, 2, method, [np.random.default_rng(p)], CPU)
        a, b = score_attentive(both, tokens, np.arange(24), p), score_attentive(alone, tokens, np.arange(24), 0)
        np.testing.assert_allclose(a, b, atol=1e-4)
        np.testing.assert_allclose(a.sum(axis=1), 1, atol=1e-9)


def test_tokens_may_be_a_mapped_file(tmp_path):
    tokens, y, _ = token_set(20)
    np.save(tmp_path / "t.npy", tokens)
    mapped = np.load(tmp_path / "t.npy", mmap_mode="r")
    rows = np.arange(8)[None]
    a, b = (score_attentive(fit(t, y, rows, epochs=2), t, np.arange(8, 20), 0) for t in (tokens, mapped))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(*(moment_features(t, MomentProbe(width=3)) for t in (tokens, mapped)))


def test_a_query_finds_the_place_that_matters():
    tokens, y, where = token_set(200, places=9)
    probes = fit(tokens, y, np.arange(100)[None], epochs=60)
    scores = score_attentive(probes, tokens, np.arange(100, 200), 0)
    assert (scores.argmax(1) == y[100:]).mean() > 0.85
    looked = probes.attention(torch.from_numpy(tokens[100:]))[0, :, 0].numpy().argmax(axis=1)
    assert (looked == where[100:]).mean() > 0.6


def test_queries_must_divide_the_width():
    tokens, y, _ = token_set(8)
    with pytest.raises(ConfigError, match="3 queries do not divide the width 8"):
        fit(tokens, y, np.arange(4)[None], form="multi", queries=3, width=8)


def test_constant_numbers_in_tokens_do_no_harm():
    tokens, y, _ = token_set(12)
    tokens[..., 0] = 7.0
    scores = score_attentive(fit(tokens, y, np.arange(8)[None], epochs=2), tokens, np.arange(12), 0)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_moments_equal_numpys_covariance(power):
    tokens = np.random.default_rng(0).normal(size=(37, 11, 7)).astype(np.float32)
    method = MomentProbe(width=4, power=power, seed=3)
    found = moment_features(tokens, method)
    q = random_projection(7, 4, 3)
    assert found.shape == (37, 7 + 10) and found.dtype == np.float32
    for i in range(37):
        np.testing.assert_allclose(found[i, :7], tokens[i].mean(axis=0), atol=1e-6)
        covariance = np.cov(tokens[i].astype(np.float64) @ q, rowvar=False, bias=True)
        flat = [covariance[a, b] * (1 if a == b else np.sqrt(2)) for a in range(4) for b in range(a, 4)]
        np.testing.assert_allclose(found[i, 7:], np.sign(flat) * np.abs(flat) ** power, atol=1e-5)


def test_without_a_power_distances_are_those_of_the_whole_matrix():
    tokens = np.random.default_rng(1).normal(size=(2, 9, 5))
    second = moment_features(tokens, MomentProbe(width=3, power=1.0))[:, 5:]
    q = random_projection(5, 3, 0)
    whole = [np.cov(t @ q, rowvar=False, bias=True) for t in tokens]
    assert np.linalg.norm(second[0] - second[1]) == pytest.approx(np.linalg.norm(whole[0] - whole[1]), rel=1e-5)


def test_the_projection_is_orthonormal_and_repeatable():
    q = random_projection(10, 4, 1)
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(q, random_projection(10, 4, 1))
    assert not np.allclose(q, random_projection(10, 4, 2))


def test_second_moments_see_what_the_mean_does_not():
    """Two classes of equal mean, the tokens of one spread wider."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    tokens = (rng.normal(size=(80, 30, 6)) * np.where(y, 2.0, 1.0)[:, None, None]).astype(np.float32)
    truth = Target("y", "binary", ("a", "b"), y.astype(np.int64))
    one = shot_fold(np.arange(16), np.arange(16, 80), shots=8)
    patients = np.arange(80).astype(object)
    inputs = AdapterInputs(tokens.mean(axis=1), tokens=tokens)
    (found,) = run_few_shot(inputs, truth, [one], MomentProbe(width=4), patients=patients)
    assert (found.scores.argmax(1) == y[16:]).mean() > 0.9


def test_a_width_beyond_the_tokens_is_refused():
    with pytest.raises(ConfigError, match="Tokens of width 6 cannot be projected to 32"):
        moment_features(token_set(4)[0], MomentProbe())


@pytest.mark.parametrize("method", [AttentiveProbe(), MomentProbe()])
def test_methods_on_tokens_say_that_tokens_are_missing(method):
    truth = Target("y", "binary", ("a", "b"), np.array([0, 1, 0, 1]))
    inputs = AdapterInputs(np.eye(4, dtype=np.float32))
    with pytest.raises(EvaluationError, match="needs patch tokens"):
        run_few_shot(inputs, truth, [shot_fold([0, 1], [2, 3])], method, patients=np.arange(4).astype(object))

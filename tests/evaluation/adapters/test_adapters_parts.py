"""The parts of the few-shot methods against plain loops: training, cache logits, moments, draws, protocols."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import ConfigError, EvaluationError
from medfm.evaluation.adapters.clip_adapter import first_weights
from medfm.evaluation.adapters.moments import moment_features, random_projection
from medfm.evaluation.adapters.run import few_shot_method, needs_validation, same_size, tuned_on_test
from medfm.evaluation.adapters.texts import softmax
from medfm.evaluation.adapters.tip_adapter import cache_logits, fit_keys, tip_logits
from medfm.evaluation.adapters.training import cross_entropy, orders, rows_of, train_stacked, unit
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.protocol_adapters import MomentProbe, TipAdapter, Training
from medfm.evaluation.schemes import Fold
from medfm.evaluation.shots import ShotFold

FEW_SHOT = (
    "attentive-probe@1",
    "attentive-probe-multi@1",
    "clip-adapter@1",
    "few-shot-lp@1",
    "flair-clip-adapter@1",
    "flair-lp@1",
    "flair-tip-adapter@1",
    "flair-tip-adapter-f@1",
    "moment-probe@1",
    "tip-adapter@1",
    "tip-adapter-f@1",
    "tip-adapter-f-published@1",
    "zero-shot-lp@1",
)


def sources(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


class TestOrders:
    @pytest.mark.parametrize("reshuffle", [True, False])
    def test_every_row_is_visited_once_per_epoch(self, reshuffle: bool) -> None:
        found = orders(7, 5, sources(0, 1, 2), reshuffle)
        assert found.shape == (5, 3, 7)
        assert (np.sort(found, axis=-1) == np.arange(7)).all()

    def test_without_reshuffling_all_epochs_are_equal(self) -> None:
        found = orders(20, 4, sources(3, 4), reshuffle=False)
        assert (found == found[0]).all()
        assert (found[0, 0] != found[0, 1]).any()

    def test_with_reshuffling_epochs_differ(self) -> None:
        found = orders(20, 4, sources(3), reshuffle=True)
        assert all((found[i] != found[j]).any() for i in range(4) for j in range(i))

    def test_a_problem_does_not_depend_on_its_neighbours(self) -> None:
        alone, together = orders(9, 3, sources(5), True), orders(9, 3, sources(5, 6), True)
        assert (alone[:, 0] == together[:, 0]).all()


class TestTraining:
    def problems(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        X, W = normal(3, 12, 5), normal(3, 5, 4, seed=1)
        y = torch.from_numpy(np.random.default_rng(2).integers(0, 4, (3, 12)))
        return X, W, y

    @pytest.mark.parametrize("schedule", ["cosine", "none"])
    @pytest.mark.parametrize("batch", [4, 5, 100])
    def test_equals_one_problem_after_the_other_in_plain_torch(self, schedule: str, batch: int) -> None:
        X, W, y = self.problems()
        rule = Training(lr=0.05, weight_decay=0.1, epochs=6, batch_size=batch, schedule=schedule)
        visits = orders(12, 6, sources(0, 1, 2), reshuffle=True)
        together = W.clone()
        train_stacked([together], lambda p: cross_entropy(rows_of(X, p) @ together, rows_of(y, p)), visits, rule)
        assert not together.requires_grad
        for problem in range(3):
            weights = W[problem].clone().requires_grad_(True)
            optimiser = torch.optim.AdamW([weights], lr=rule.lr, eps=rule.eps, weight_decay=rule.weight_decay)
            steps = 6 * math.ceil(12 / batch)
            step = 0
            for epoch in range(6):
                for start in range(0, 12, batch):
                    rows = visits[epoch, problem, start : start + batch]
                    if schedule == "cosine":
                        optimiser.param_groups[0]["lr"] = 0.5 * rule.lr * (1 + math.cos(math.pi * step / steps))
                    optimiser.zero_grad()
                    torch.nn.functional.cross_entropy(X[problem, rows] @ weights, y[problem, rows]).backward()
                    optimiser.step()
                    step += 1
            torch.testing.assert_close(together[problem], weights.detach(), rtol=1e-4, atol=1e-5)

    def test_epochs_are_told_in_order(self) -> None:
        X, W, y = self.problems()
        told: list[int] = []
        visits = orders(12, 3, sources(0, 1, 2), reshuffle=True)
        rule = Training(lr=0.01, epochs=3, batch_size=6)
        train_stacked(
            [W], lambda p: cross_entropy(rows_of(X, p) @ W, rows_of(y, p)), visits, rule, after_epoch=told.append
        )
        assert told == [1, 2, 3]

    def test_an_error_leaves_small_numbers_as_they_were(self) -> None:
        def broken(_: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError

        tiny = torch.tensor(1e-40)
        with pytest.raises(ZeroDivisionError):
            train_stacked([normal(1, 2)], broken, orders(2, 1, sources(0), True), Training(epochs=1, batch_size=2))
        assert float(tiny * 1.0) != 0


class TestSmallFunctions:
    def test_cross_entropy_is_torchs_per_problem(self) -> None:
        logits, y = normal(4, 9, 5), torch.from_numpy(np.random.default_rng(1).integers(0, 5, (4, 9)))
        expected = torch.stack([torch.nn.functional.cross_entropy(a, b) for a, b in zip(logits, y, strict=True)])
        torch.testing.assert_close(cross_entropy(logits, y), expected)

    def test_rows_of_takes_each_problems_own_rows(self) -> None:
        values, places = normal(3, 6, 2), torch.tensor([[0, 5], [2, 2], [4, 1]])
        for problem in range(3):
            for m in range(2):
                assert torch.equal(rows_of(values, places)[problem, m], values[problem, places[problem, m]])

    def test_unit_rows_and_zeros(self) -> None:
        values = normal(5, 3)
        values[2] = 0
        found = unit(values)
        assert torch.equal(found[2], torch.zeros(3))
        torch.testing.assert_close(found.norm(dim=-1)[[0, 1, 3, 4]], torch.ones(4))

    @given(st.lists(st.floats(-500, 500), min_size=2, max_size=6), st.floats(-1000, 1000))
    def test_softmax_sums_to_one_and_ignores_a_shift(self, row: list[float], shift: float) -> None:
        found = softmax(np.array([row]))
        assert found.sum() == pytest.approx(1) and (found >= 0).all()
        np.testing.assert_allclose(softmax(np.array([row]) + shift), found, atol=1e-9)


class TestTip:
    def case(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        X, keys, text = unit(normal(6, 8)), unit(normal(9, 8, seed=1)), unit(normal(3, 8, seed=2))
        values = torch.eye(3)[torch.arange(9) % 3]
        return X, keys, values, text

    def test_cache_logits_by_a_loop(self) -> None:
        X, keys, values, _ = self.case()
        found = cache_logits(X, keys, values, 2.5)
        for i in range(6):
            for k in range(3):
                expected = sum(
                    math.exp(-2.5 * (1 - float(X[i] @ keys[j]))) for j in range(9) if values[j].argmax() == k
                )
                assert float(found[i, k]) == pytest.approx(expected, rel=1e-5)

    def test_without_cache_it_is_zero_shot(self) -> None:
        X, keys, values, text = self.case()
        found = tip_logits(X, keys, values, text, scale=10, alpha=0, beta=1)
        torch.testing.assert_close(found, 10 * X @ text.T)

    def test_the_order_of_the_shots_does_not_matter(self) -> None:
        X, keys, values, text = self.case()
        order = torch.tensor([4, 8, 0, 2, 1, 7, 3, 6, 5])
        one = tip_logits(X, keys, values, text, scale=5, alpha=1.5, beta=3)
        torch.testing.assert_close(tip_logits(X, keys[order], values[order], text, scale=5, alpha=1.5, beta=3), one)

    @settings(max_examples=20, deadline=None)
    @given(st.floats(0.1, 20))
    def test_a_shot_speaks_loudest_for_itself(self, beta: float) -> None:
        keys = self.case()[1]
        for j in range(9):
            weights = torch.exp(-beta * (1 - keys[j] @ keys.T))
            assert int(weights.argmax()) == j

    def test_trained_keys_fit_the_shots_better(self) -> None:
        X = unit(normal(2, 9, 8, seed=4))
        values = torch.eye(3)[torch.arange(9) % 3].expand(2, 9, 3).contiguous()
        text = unit(normal(3, 8, seed=5))
        method = TipAdapter(train_keys=True, training=Training(lr=0.01, epochs=30, batch_size=9))
        visits = orders(9, 30, sources(0, 1), reshuffle=True)
        keys = fit_keys(X, values, text, 10.0, method, visits)
        rule = {"scale": 10.0, "alpha": method.alpha[0], "beta": method.beta[0]}
        y = values.argmax(-1)
        before = cross_entropy(tip_logits(X, X, values, text, **rule), y)
        after = cross_entropy(tip_logits(X, keys, values, text, **rule), y)
        assert (after < before).all()
        assert torch.equal(X, unit(normal(2, 9, 8, seed=4))), "the shots themselves must stay"


class TestMoments:
    def test_mean_and_covariance_by_a_loop(self) -> None:
        tokens = np.random.default_rng(0).standard_normal((19, 7, 6)).astype(np.float32)
        found = moment_features(tokens, MomentProbe(width=3, power=1.0))
        projection = random_projection(6, 3, 0)
        assert found.shape == (19, 6 + 6) and found.dtype == np.float32
        for i in (0, 15, 16, 18):
            np.testing.assert_allclose(found[i, :6], tokens[i].mean(0), atol=1e-6)
            covariance = np.cov(tokens[i].astype(float) @ projection, rowvar=False, bias=True)
            whole = float(((covariance) ** 2).sum())
            assert float((found[i, 6:].astype(float) ** 2).sum()) == pytest.approx(whole, rel=1e-4)

    def test_the_order_of_tokens_does_not_matter(self) -> None:
        tokens = np.random.default_rng(1).standard_normal((3, 8, 5))
        shuffled = tokens[:, np.random.default_rng(2).permutation(8)]
        method = MomentProbe(width=4)
        np.testing.assert_allclose(moment_features(shuffled, method), moment_features(tokens, method), atol=1e-5)

    def test_a_shift_moves_the_mean_only(self) -> None:
        tokens = np.random.default_rng(3).standard_normal((2, 8, 5))
        method = MomentProbe(width=5, power=1.0)
        one, other = moment_features(tokens, method), moment_features(tokens + 2.0, method)
        np.testing.assert_allclose(other[:, :5], one[:, :5] + 2.0, atol=1e-5)
        np.testing.assert_allclose(other[:, 5:], one[:, 5:], atol=1e-5)

    def test_the_projection_is_orthonormal_and_repeats(self) -> None:
        first = random_projection(9, 4, 7)
        np.testing.assert_allclose(first.T @ first, np.eye(4), atol=1e-12)
        assert (first == random_projection(9, 4, 7)).all() and (first != random_projection(9, 4, 8)).any()

    def test_too_wide_is_refused_with_the_width_that_fits(self) -> None:
        with pytest.raises(ConfigError, match=r"width 5 cannot be projected to 6") as caught:
            moment_features(np.zeros((1, 2, 5)), MomentProbe(width=6))
        assert caught.value.fix == "--set method.width=5 or less"


class TestDraws:
    def fold(self, shots: int, train: int) -> ShotFold:
        rows = np.arange(train)
        empty = np.arange(0)
        return ShotFold(shots, Fold(rows, np.arange(train, train + 2), empty))

    def test_groups_hold_equal_sizes_and_everything_once(self) -> None:
        drawn = [self.fold(1, 3), self.fold(4, 12), self.fold(1, 3), self.fold(1, 2), self.fold(4, 12)]
        groups = same_size(drawn)
        assert groups == [[0, 2], [1, 4], [3]]

    def test_first_weights_are_within_their_bound_and_repeat(self) -> None:
        down, up = first_weights(16, 4, sources(0, 1))
        assert down.shape == (2, 4, 16) and up.shape == (2, 16, 4)
        assert np.abs(down).max() <= 1 / math.sqrt(16) and np.abs(up).max() <= 1 / math.sqrt(4)
        again = first_weights(16, 4, sources(0, 1))
        assert (again[0] == down).all() and (again[1] == up).all() and (down[0] != down[1]).any()
        assert first_weights(3, 8, sources(0))[0].shape == (1, 1, 3)


class TestProtocols:
    @pytest.mark.parametrize("name", FEW_SHOT)
    def test_each_is_one_of_the_family(self, name: str) -> None:
        plan = load_protocol(name)
        assert few_shot_method(plan) is not None
        assert plan.id == name and plan.title

    def test_only_a_published_one_looks_at_test_records(self) -> None:
        looking = {name for name in FEW_SHOT if tuned_on_test(few_shot_method(load_protocol(name)))}
        assert looking == {"tip-adapter-f-published@1"}

    def test_one_setting_and_the_last_epoch_need_no_validation(self) -> None:
        fixed = ["method.alpha=[1.0]", "method.beta=[5.0]"]
        assert not needs_validation(few_shot_method(load_protocol("tip-adapter@1", overrides=fixed)))
        assert needs_validation(few_shot_method(load_protocol("tip-adapter@1", overrides=["method.alpha=[1.0, 2.0]"])))

    @pytest.mark.parametrize("name", ["knn@1", "zero-shot@1", "mil@1", "retrieval@1"])
    def test_others_are_refused(self, name: str) -> None:
        with pytest.raises(EvaluationError, match=f"'{name}' is of the method") as caught:
            few_shot_method(load_protocol(name))
        assert "tip-adapter-f@1" in str(caught.value.expected)

    def test_the_plain_probe_is_the_one_that_others_are_compared_with(self) -> None:
        plain = load_protocol("few-shot-lp@1")
        assert few_shot_method(plain).kind == "linear_probe" and not tuned_on_test(few_shot_method(plain))
        assert load_protocol("flair-lp@1").digest() != plain.digest()

"""Batches of pairs, gathered batches and their losses: what may not change them, against plain loops."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pair_parts import held, network, pairs, recipe, tokens
from sklearn.metrics import roc_auc_score

from medfm.cohorts.cohort import Cohort
from medfm.core.errors import TrainingError
from medfm.core.hashing import sha256_tensors
from medfm.training.gather import gathered, gradient_factor
from medfm.training.log import smooth
from medfm.training.merl import MerlOutputs, MerlPairs, pair_loss
from medfm.training.paired_validation import validation_losses, zero_shot_judge
from medfm.training.pairs import different, pair_batches, pair_positions, steps_per_epoch
from medfm.training.pairs_config import ZeroShotSelection
from medfm.training.vocabulary import SPECIAL, build_vocabulary


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(2, 60), batch=st.integers(1, 9), world=st.integers(1, 3), epoch=st.integers(0, 3),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_processes_share_an_epoch_as_one_process_with_the_whole_batch(
    count: int, batch: int, world: int, epoch: int, seed: int
) -> None:
    assume(count >= batch * world)
    steps = steps_per_epoch(count, batch, world)
    seen: list[int] = []
    for step in range(epoch * steps, (epoch + 1) * steps):
        whole = pair_positions(count, batch * world, step, seed)
        shares = [pair_positions(count, batch, step, seed, rank, world) for rank in range(world)]
        assert [i for share in shares for i in share] == whole
        seen += whole
    assert len(set(seen)) == len(seen) == steps * batch * world
    assert set(seen) <= set(range(count)) and count - len(seen) < batch * world


@given(st.lists(st.text(alphabet="ab ", max_size=3), min_size=1, max_size=20))
def test_every_text_keeps_its_place(texts: list[str]) -> None:
    distinct, which = different(texts)
    assert [distinct[i] for i in which.tolist()] == texts
    assert len(set(distinct)) == len(distinct)
    assert which.tolist()[0] == 0 and which.dtype == torch.int64


def test_records_on_demand_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pairs(10)
    values = whole.records.held
    assert values is not None

    class OnDemand:
        held = None

        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> torch.Tensor:
            return values[index]

    read = type(whole)(OnDemand(), whole.text, whole.which, whole.texts)  # type: ignore[arg-type]
    for first, second in zip(pair_batches(whole, range(5), 4, 7), pair_batches(read, range(5), 4, 7), strict=True):
        torch.testing.assert_close(first.records, second.records)
        for a, b in zip(first.text, second.text, strict=True):
            assert torch.equal(a, b)


def test_batches_do_not_touch_the_global_random_state() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(pair_batches(pairs(10), range(4), 3, 0))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_taking_records_twice_takes_what_was_taken() -> None:
    records = held(8)
    first = records.take([5, 3, 1, 7])
    second = first.take([2, 0])
    assert [ref.record_id for ref in second.refs] == ["r1", "r5"] and second.rows == (1, 5)
    assert records.held is not None and second.held is not None
    assert torch.equal(second.held, records.held[[1, 5]])
    assert second.digest() == sha256_tensors({"records": records.held[[1, 5]].clone()})
    assert second.digest() != records.take([5, 1]).digest()


@settings(max_examples=20, deadline=None)
@given(world=st.integers(1, 4), batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_gathered_rows_are_the_rows_of_all_in_one_order(world: int, batch: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    shares = torch.randn(world, batch, 3, generator=source)
    rows = [gathered(shares[rank].clone().requires_grad_(), rank, lambda _: shares) for rank in range(world)]
    for found in rows:
        torch.testing.assert_close(found.detach(), shares.reshape(-1, 3))
    assert gradient_factor("full", world) == world
    assert gradient_factor("local_gradient", world) == gradient_factor("none", world) == 1.0


def outputs(seed: int, n: int = 6) -> MerlOutputs:
    source = torch.Generator().manual_seed(seed)
    return MerlOutputs(*(torch.randn(n, 8, generator=source) for _ in range(4)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_loss_does_not_see_order_length_or_side(seed: int) -> None:
    made = outputs(seed)
    terms, accuracy = pair_loss(made, recipe())
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    shuffled, again = pair_loss(MerlOutputs(*(part[order] for part in made)), recipe())
    longer, _ = pair_loss(MerlOutputs(*(part * 3.5 for part in made)), recipe())
    turned, _ = pair_loss(MerlOutputs(made.text, made.signal, made.view2, made.view1), recipe())
    for name, value in terms.items():
        for other in (shuffled, longer, turned):
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)
    assert again == accuracy and 0 <= accuracy["top1"] <= accuracy["top5"] <= 1


def test_the_loss_by_a_plain_loop() -> None:
    made, config = outputs(1), recipe(uma=0.25, temperature=0.2)

    def info_nce(left: torch.Tensor, right: torch.Tensor) -> float:
        a, b = (x.double() / x.double().norm(dim=1, keepdim=True) for x in (left, right))
        cosines = (a @ b.T / 0.2).numpy()
        total = 0.0
        for matrix in (cosines, cosines.T):
            total += sum(np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(matrix)) / len(matrix)
        return total

    terms, _ = pair_loss(made, config)
    ratio = float(terms["cma"]) / info_nce(made.signal, made.text)
    # Both terms have one scale, that of the published code: halved or not, the same for each.
    assert ratio == pytest.approx(float(terms["uma"]) / info_nce(made.view1, made.view2), rel=1e-5)
    assert ratio in (pytest.approx(1.0, rel=1e-5), pytest.approx(0.5, rel=1e-5))
    assert float(terms["total"]) == pytest.approx(float(terms["cma"]) + 0.25 * float(terms["uma"]), rel=1e-6)


def test_validation_leaves_the_model_as_it_was() -> None:
    config = recipe()
    model = MerlPairs(network(), config.text).train()
    before = sha256_tensors({k: v.clone() for k, v in model.state_dict().items()})
    first = validation_losses(model, pairs(10), config)
    assert model.training and sha256_tensors(dict(model.state_dict())) == before
    assert validation_losses(model, pairs(10), config) == first
    assert set(first) == {"val_total", "val_cma", "val_uma", "val_top1", "val_top5"}


def labelled(**columns: list) -> Cohort:
    n = len(next(iter(columns.values())))
    base = {"record_id": [f"r{i}" for i in range(n)], "path": [f"r{i}.hea" for i in range(n)],
            "patient_id": [f"p{i}" for i in range(n)], "site": [None] * n, "split": [None] * n}  # fmt: skip
    return Cohort(pd.DataFrame({**base, **columns}), "ecg", Path())


def test_only_labels_with_both_values_are_judged() -> None:
    cohort = labelled(
        NORM=[0, 1] * 4, MI=[0] * 8, CD=["yes", "no"] * 4, HYP=[0, 1, None, 1, 0, 1, 0, 1], STTC=["0", "1"] * 4
    )
    judge = zero_shot_judge(
        ZeroShotSelection(label_set="ptbxl-super"), cohort, held(8), lambda texts: tokens(len(texts))
    )
    assert judge.prompts.labels == ("NORM", "STTC")
    np.testing.assert_array_equal(judge.truth, np.array([[0, 0], [1, 1]] * 4))


def test_no_label_at_all_names_what_was_looked_for() -> None:
    with pytest.raises(TrainingError, match="No label of 'ptbxl-super'") as caught:
        zero_shot_judge(
            ZeroShotSelection(label_set="ptbxl-super"), labelled(norm=[0, 1]), held(2), lambda t: tokens(len(t))
        )
    assert "NORM" in caught.value.expected and "validation_loss" in caught.value.fix


def test_the_judge_does_not_depend_on_its_batches() -> None:
    cohort = labelled(NORM=[0, 1] * 4)
    judge = zero_shot_judge(ZeroShotSelection(label_set="ptbxl-super"), cohort, held(8), lambda t: tokens(len(t)))
    model = MerlPairs(network(), recipe().text)
    found = [judge(model, batch=size) for size in (1, 3, 64)]
    assert found[0] == found[1] == found[2] and 0 <= found[0] <= 1
    turned = type(judge)(judge.records, judge.prompts, 1 - judge.truth, judge.tokenise)
    assert turned(model) == pytest.approx(1 - found[0])
    assert roc_auc_score([0, 1], [0.1, 0.2]) == 1.0


WORDS = st.lists(st.text(alphabet=string.ascii_letters + "é1.,-' ", max_size=20), max_size=20)


@settings(max_examples=50, deadline=None)
@given(texts=WORDS, seed=st.integers(0, 99), least=st.integers(1, 3))
def test_a_vocabulary_can_spell_every_report_it_was_made_from(texts: list[str], seed: int, least: int) -> None:
    found = build_vocabulary(texts, 400, least)
    assert tuple(found[:5]) == SPECIAL and len(set(found)) == len(found) <= 400
    order = np.random.default_rng(seed).permutation(len(texts))
    assert build_vocabulary([texts[i] for i in order], 400, least) == found
    for letter in set("".join(texts).lower()) - {" "}:
        assert letter in found and f"##{letter}" in found
    assert build_vocabulary(texts, 200, least) == found[:200]


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=40), window=st.integers(1, 9))
def test_smoothing_stays_between_the_extremes(values: list[float], window: int) -> None:
    found = list(smooth(values, window))
    assert len(found) == len(values)
    assert min(found) >= min(values) - 1e-9 and max(found) <= max(values) + 1e-9
    assert list(smooth(values, 1)) == pytest.approx(values)

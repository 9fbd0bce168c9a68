"""One site's training as separate functions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medfm.core.errors import TrainingError
from medfm.objectives.labels import LabelLoss
from medfm.training.classifier import Classifier, LinearHead
from medfm.training.config import Machine
from medfm.training.finetune_batches import Labelled, epoch_batches
from medfm.training.finetune_groups import plan_stage
from medfm.training.layer_groups import layer_groups
from medfm.training.local import (
    Session,
    get_trainable_state,
    local_evaluate,
    local_train,
    open_session,
    set_trainable_state,
    trainable_total,
)
from medfm.training.loop import make_fabric
from tests.training.tuning_parts import recipe

LOSS = LabelLoss("binary")


def network() -> nn.Module:
    torch.manual_seed(0)
    lower = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
    return nn.Sequential(lower, nn.Sequential(nn.Linear(6, 5), nn.ReLU()))


def model() -> Classifier:
    head = LinearHead(5, 1, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        return Classifier(network(), lambda module, x: module(x), head)


def data() -> Labelled:
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    return Labelled(x, (x[:, 0] > 0).float())


def session(classifier: Classifier, **changes: Any) -> Session:
    parts = [{"part": "1", "lr": 1e-2, "wakes": 0.5}]
    stage = {"name": "tune", "epochs": 4, "layers": {"kind": "parts", "parts": parts}, **changes.pop("stage", {})}
    plan = recipe(stage, **changes)
    groups = layer_groups(classifier.network)
    made = plan_stage(classifier, plan.stages[0], groups, groups, torch.Generator().manual_seed(0))
    fabric = make_fabric(Machine(accelerator="cpu"))
    return open_session(classifier, plan, 0, made, LOSS, fabric, 3)


def test_state_goes_out_and_in_and_is_a_copy() -> None:
    first, second = model(), model()
    sender = session(first)
    local_train(sender, data(), 3)  # the upper layer is awake
    state = get_trainable_state(first)
    assert set(state) == {"network.1.0.weight", "network.1.0.bias", "head.linear.weight", "head.linear.bias"}
    set_trainable_state(second, state)
    for name, value in second.named_parameters():
        assert torch.equal(value, dict(first.named_parameters())[name]) or name.startswith("network.0.")
    state["head.linear.bias"].add_(1)
    assert not torch.equal(state["head.linear.bias"], dict(first.named_parameters())["head.linear.bias"])


def test_only_what_learns_travels_and_statistics_when_asked_for() -> None:
    classifier = model()
    made = session(classifier, stage={"layers": {"kind": "whole", "lr": 1e-3}})
    made.prepare(0)
    assert "network.0.1.running_mean" not in get_trainable_state(classifier)
    assert "network.0.1.running_mean" in get_trainable_state(classifier, statistics=True)
    asleep = session(model())
    asleep.prepare(0)
    assert set(get_trainable_state(asleep.model, statistics=True)) == {"head.linear.weight", "head.linear.bias"}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"head.other": torch.zeros(1)}, "do not fit"),
        ({"head.linear.bias": torch.zeros(2)}, "do not fit"),
        ({"head.linear.bias": torch.full((1,), float("nan"))}, "not finite"),
    ],
    ids=["unknown", "shape", "nan"],
)
def test_a_state_that_does_not_fit_changes_nothing(state: dict[str, torch.Tensor], message: str) -> None:
    classifier = model()
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    with pytest.raises(TrainingError, match=message):
        set_trainable_state(classifier, {"head.linear.weight": torch.ones(1, 5), **state})
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())


def test_an_epoch_is_what_a_plain_loop_does() -> None:
    """AdamW with the schedule's rates, written out."""
    classifier, plain = model(), model()
    made = session(classifier, stage={"schedule": {"kind": "one_cycle"}}, clip=0)
    told = [local_train(made, data(), epoch) for epoch in range(3)]
    lower = list(plain.network[0].parameters())  # type: ignore[index]
    upper, head = list(plain.network[1].parameters()), list(plain.head.parameters())  # type: ignore[index]
    optimizer = torch.optim.AdamW(
        [{"params": head, "weight_decay": 1e-4}, {"params": upper, "weight_decay": 1e-4}], lr=1.0
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[1e-3, 1e-2], total_steps=4 * 3)
    for epoch in range(3):
        plain.eval()  # BatchNorm of sleeping layers stays; the lower layer sleeps throughout
        plain.head.train()
        for p in upper:
            p.requires_grad_(epoch >= 2)
        for p in lower:
            p.requires_grad_(False)
        for batch in epoch_batches(data(), batch=4, seed=3, stage=0, epoch=epoch):
            optimizer.zero_grad()
            LOSS(plain(batch.mixed.inputs), batch.targets).backward()
            optimizer.step()
            cycle.step()
    assert [trainable_total(t["trainable"]) for t in told] == [6, 6, 41]
    for (name, a), b in zip(classifier.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_evaluation_changes_nothing_but_the_mode() -> None:
    classifier = model().train()
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    found = local_evaluate(classifier, data(), LOSS, batch=3)
    assert found.records == 10 and found.logits.shape == (10, 1) and not classifier.training
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())
    whole = local_evaluate(classifier, data(), LOSS)
    assert torch.allclose(found.logits, whole.logits, atol=1e-6) and found.loss == pytest.approx(whole.loss)
    assert found.loss == pytest.approx(float(LOSS(classifier(data().inputs), data().targets).detach()))  # type: ignore[arg-type]


def test_a_network_that_gives_nonsense_is_found_out() -> None:
    classifier = model()
    with torch.no_grad():
        classifier.head.linear.bias.fill_(float("inf"))
    with pytest.raises(TrainingError, match="not finite"):
        local_evaluate(classifier, data(), LOSS)


def test_stopping_is_asked_after_every_step() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(KeyboardInterrupt):
        local_train(session(model()), data(), 0, stop=stop)
    assert len(asked) == 2

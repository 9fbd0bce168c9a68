"""The MERL step: frozen and learning towers, cached text vectors, loss terms."""

from __future__ import annotations

import pytest
import torch
from pair_parts import ARGS, network, recipe, tokens

from medfm.core.errors import ConfigError
from medfm.encoders.merl import build_merl
from medfm.objectives.merl import cma_loss, uma_loss
from medfm.training.merl import MerlPairs, pair_loss
from medfm.training.pairs_config import TextRule

RECORDS = torch.rand(4, 12, 160, generator=torch.Generator().manual_seed(1))


def learning(model: MerlPairs) -> set[str]:
    return {name for name, p in model.network.named_parameters() if p.requires_grad}


def test_which_parameters_learn() -> None:
    everything = {name for name, _ in network().named_parameters()}
    frozen = learning(MerlPairs(network(), TextRule(trained_layers=0)))
    last = learning(MerlPairs(network(), TextRule(trained_layers=1)))
    assert learning(MerlPairs(network(), TextRule(trained_layers="all"))) == everything
    assert frozen == {name for name in everything if not name.startswith("lm_model.")}
    assert "proj_t.0.weight" in frozen
    assert {name.split(".")[1] for name in last - frozen} == {"encoder", "pooler"}
    assert all(".layer.1." in name or ".pooler." in name for name in last - frozen)
    assert learning(MerlPairs(network(), TextRule(trained_layers=2))) - last != set()
    with pytest.raises(ConfigError, match="2 layers, 3 should learn"):
        MerlPairs(network(), TextRule(trained_layers=3))


def test_a_network_without_tower_is_refused() -> None:
    with pytest.raises(ConfigError, match="no text tower"):
        MerlPairs(build_merl({**ARGS, "text": None}), TextRule())


def test_cached_vectors_equal_encoding_in_every_step() -> None:
    model = MerlPairs(network(), TextRule(trained_layers=0)).train()
    ids, mask = tokens(4)
    vectors = model.sentence_vectors(ids, mask, batch=3)
    assert vectors.shape == (4, 16)
    assert model.training
    assert not model.network.lm_model.training  # a frozen tower has no dropout
    outputs = []
    for text in ((ids, mask), (vectors,)):
        torch.manual_seed(5)
        outputs.append(model(RECORDS, *text))
    for one, two in zip(*outputs, strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    grads = []
    for text in ((ids, mask), (vectors,)):
        model.zero_grad()
        torch.manual_seed(5)
        pair_loss(model(RECORDS, *text), recipe())[0]["total"].backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1])
    for one, two in zip(*grads, strict=True):
        assert torch.allclose(one, two, atol=1e-4, rtol=1e-3)


def test_a_learning_tower_has_dropout_and_gradient() -> None:
    model = MerlPairs(network(), TextRule(start="random", trained_layers="all")).train()
    assert model.network.lm_model.training
    ids, mask = tokens(4)
    first, second = (model(RECORDS, ids, mask).text for _ in range(2))
    assert not torch.equal(first, second)
    pair_loss(model(RECORDS, ids, mask), recipe())[0]["cma"].backward()
    assert model.network.lm_model.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    # The sum reaches every parameter; CMA alone leaves the two views out.
    assert model.network.linear1.weight.grad is None
    pair_loss(model(RECORDS, ids, mask), recipe())[0]["total"].backward()
    assert model.network.linear1.weight.grad.abs().sum() > 0


def test_terms_are_the_objectives() -> None:
    model = MerlPairs(network(), TextRule()).eval()
    outputs = model(RECORDS, *tokens(4))
    terms, accuracy = pair_loss(outputs, recipe(temperature=0.1, uma=0.5))
    cma = cma_loss(outputs.signal, outputs.text, 0.1)
    uma = uma_loss(outputs.view1, outputs.view2, 0.1)
    assert torch.allclose(terms["cma"], cma)
    assert torch.allclose(terms["uma"], uma)
    assert torch.allclose(terms["total"], cma + 0.5 * uma)
    assert accuracy["top5"] == 1.0  # four pairs
    assert 0 <= accuracy["top1"] <= 1


def test_perfect_pairs_are_found() -> None:
    outputs = MerlPairs(network(), TextRule()).eval()(RECORDS, *tokens(4))
    rows = torch.eye(4, 8)
    _, accuracy = pair_loss(outputs._replace(signal=rows, text=3 * rows), recipe())
    assert accuracy["top1"] == 1.0
    _, accuracy = pair_loss(outputs._replace(signal=rows, text=rows.roll(1, 0)), recipe())
    assert accuracy["top1"] == 0.0

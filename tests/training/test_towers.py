"""The step of CLIP, FLAIR and ConVIRT: frozen and learning towers, cached vectors, loss terms, gathered shares."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_parts import tokens
from tower_parts import CLIP, NETWORKS, PICTURES, network, recipe

from medfm.core.errors import ConfigError
from medfm.encoders.clip import build_clip
from medfm.objectives.contrastive import clip_loss, siglip_loss
from medfm.objectives.convirt import convirt_losses
from medfm.objectives.flair import category_targets, flair_losses
from medfm.training.gather import gathered, gradient_factor
from medfm.training.pair_families import pair_loss, pair_model
from medfm.training.towers import TowerOutputs, TowerPairs, tower_loss

FAMILIES = sorted(NETWORKS)


def model(family: str, **changes: Any) -> TowerPairs:
    return TowerPairs(network(family), recipe(family, **changes))


def outputs(n: int = 6, seed: int = 0, log_scale: float = 2.0, bias: float = -3.0) -> TowerOutputs:
    source = torch.Generator().manual_seed(seed)
    rows = [torch.randn(n, 8, generator=source).requires_grad_() for _ in range(2)]
    scalars = [torch.tensor(value, requires_grad=True) for value in (log_scale, bias, 1.5)]
    return TowerOutputs(*rows, *scalars)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_that_is_used_gets_a_gradient_and_nothing_else_learns(family: str) -> None:
    one = model(family).train()
    terms, values = tower_loss(one(PICTURES, *tokens(4)), recipe(family), None, torch.tensor([0, 0, 1, 2]))
    terms["total"].backward()
    lacking = [name for name, p in one.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []
    still = {name for name, p in one.named_parameters() if not p.requires_grad}
    assert all(".pooler." in name for name in still)
    assert math.isfinite(terms["total"].item()) and 0 <= values["top1"] <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_how_much_of_the_text_tower_learns(family: str) -> None:
    def learning(trained: int | str) -> set[str]:
        return {
            name
            for name, p in model(family, text={"start": "pretrained", "trained_layers": trained}).named_parameters()
            if p.requires_grad
        }

    none, last, everything = learning(0), learning(1), learning("all")
    assert none < last < everything
    own = {"clip": ".resblocks.1."}.get(family, ".layer.1.")
    heads = (own, "ln_final", "text_projection", ".pooler.")
    assert all(any(part in name for part in heads) for name in last - none)
    with pytest.raises(ConfigError, match="2 layers, 3 should learn"):
        learning(3)
    frozen = model(family, text={"start": "pretrained", "trained_layers": 0}).train()
    assert not frozen.text_tower().training and frozen.network.training


@pytest.mark.parametrize("family", ["clip", "clip-bert", "convirt"])
def test_cached_vectors_equal_encoding_in_every_step(family: str) -> None:
    one = model(family, text={"start": "pretrained", "trained_layers": 0}).train()
    assert one.cache_texts
    ids, mask = tokens(4)
    vectors = one.sentence_vectors(ids, mask, batch=3)
    found, wanted = one(PICTURES, vectors), one(PICTURES, ids, mask)
    assert torch.allclose(found.text, wanted.text, atol=1e-5)
    assert torch.allclose(wanted.text, one.embed_text(ids, mask), atol=1e-6)


def test_vectors_that_depend_on_padding_are_not_kept() -> None:
    assert not model("flair", text={"start": "pretrained", "trained_layers": 0}).cache_texts


def test_first_values_of_scale_and_bias() -> None:
    assert model("clip").network.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-5)
    siglip = model("clip", loss="siglip")
    assert siglip.network.logit_scale.exp().item() == pytest.approx(10, rel=1e-5)
    assert siglip.bias is not None and siglip.bias.item() == -10
    assert model("clip", scale=20).network.logit_scale.exp().item() == pytest.approx(20, rel=1e-5)
    assert "logit_scale" not in dict(model("convirt").named_parameters())


@pytest.mark.parametrize("family", ["clip", "flair"])
def test_the_multiplier_stays_between_1_and_100(family: str) -> None:
    one = model(family)
    for value, wanted in ((9.0, 100.0), (-2.0, 1.0)):
        with torch.no_grad():
            one.network.logit_scale.fill_(value)
        found = one(PICTURES, *tokens(4))
        assert found.log_scale.exp().item() == pytest.approx(wanted, rel=1e-4)
        assert one.network.logit_scale.exp().item() == pytest.approx(wanted, rel=1e-4)


def test_terms_are_the_objectives() -> None:
    made = outputs()
    image, text, scale = unit(made.image), unit(made.text), made.log_scale.exp()
    groups = torch.tensor([3, 3, 0, 1, 1, 1])
    found = {
        "clip": tower_loss(made, recipe("clip"))[0]["total"],
        "siglip": tower_loss(made, recipe("clip", loss="siglip"))[0]["total"],
        "coca": tower_loss(made, recipe("clip", loss="coca", caption=2.0))[0]["total"],
        "flair": tower_loss(made, recipe("flair"), None, groups)[0]["total"],
        "convirt": tower_loss(made, recipe("convirt", temperature=0.2, image_to_text=0.6))[0]["total"],
    }
    target = category_targets([str(g) for g in groups.tolist()])
    wanted = {
        "clip": clip_loss(image, text, scale),
        "siglip": siglip_loss(image, text, scale, made.bias),
        "coca": clip_loss(image, text, scale) + 2.0 * made.caption,
        "flair": flair_losses(image, text, made.log_scale, target).total,
        "convirt": convirt_losses(made.image, made.text, 0.2, 0.6).total,
    }
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-5), name
    without = tower_loss(made, recipe("flair"))[0]["total"]
    assert torch.allclose(without, clip_loss(image, text, scale), rtol=1e-5)  # every pair is its own category


def test_perfect_pairs_are_found() -> None:
    rows = torch.eye(4, 8)
    made = outputs(4)._replace(image=rows, text=3 * rows)
    assert tower_loss(made, recipe("clip"))[1]["top1"] == 1.0
    assert tower_loss(made._replace(text=rows.roll(1, 0)), recipe("clip"))[1]["top1"] == 0.0


KINDS = [("clip", {}), ("clip", {"loss": "siglip"}), ("clip", {"loss": "coca"}), ("flair", {}), ("convirt", {})]


@pytest.mark.parametrize(("family", "changes"), KINDS, ids=["clip", "siglip", "coca", "flair", "convirt"])
@settings(max_examples=10, deadline=None)
@given(world=st.integers(1, 4), batch=st.integers(1, 4), seed=st.integers(0, 100))
def test_shares_of_the_gradient_add_up_to_that_of_the_whole_batch(
    family: str, changes: dict, world: int, batch: int, seed: int
) -> None:
    """Every process in turn: rows, multiplier, bias and decoder get the gradient of one process with all pairs."""
    whole = outputs(world * batch, seed)
    groups = torch.arange(world * batch) % 3
    config = recipe(family, gather="full", **changes)
    tower_loss(whole, config, None, groups)[0]["total"].backward()
    leaves = outputs(world * batch, seed)
    for rank in range(world):
        rows = slice(rank * batch, (rank + 1) * batch)
        queue = [leaves.image, leaves.text, *([groups.float()[:, None]] if family == "flair" else [])]

        def collect(own: torch.Tensor, rank: int = rank, queue: list = queue) -> torch.Tensor:
            everyone = queue.pop(0).detach().view(world, batch, -1)
            return gathered(own, rank, lambda _: everyone)

        own = leaves._replace(image=leaves.image[rows], text=leaves.text[rows])
        total = tower_loss(own, config, collect, groups[rows])[0]["total"]
        (total * gradient_factor("full", world) / world).backward()  # the mean over processes, as DDP takes it
    for name, wanted, found in zip(TowerOutputs._fields, whole, leaves, strict=True):
        assert (wanted.grad is None) == (found.grad is None), name
        if wanted.grad is not None:
            assert torch.allclose(found.grad, wanted.grad, rtol=1e-3, atol=1e-5), name


def test_the_decoder_sees_the_picture_and_not_the_next_word() -> None:
    one = model("clip", loss="coca").eval()
    ids, mask = tokens(4)
    assert one.decoder is not None and not one.cache_texts
    patches = one.network.tokens(PICTURES)
    logits, labels = one.decoder.predictions(patches, ids, mask)
    assert logits.shape == (4, ids.shape[1] - 1, 40)
    assert torch.equal(labels, ids[:, 1:] * mask[:, 1:])
    later = ids.clone()
    later[:, 4] = (later[:, 4] + 1) % 40
    changed, _ = one.decoder.predictions(patches, later, mask)
    assert torch.allclose(changed[:, :4], logits[:, :4], atol=1e-6)
    assert not torch.allclose(changed[:, 4:], logits[:, 4:], atol=1e-4)
    blind, _ = one.decoder.predictions(patches + 1, ids, mask)
    assert not torch.allclose(blind, logits, atol=1e-5)
    assert one(PICTURES, ids, mask).caption.item() == pytest.approx(math.log(40), rel=0.05)  # it knows nothing yet


def test_networks_that_do_not_belong_are_refused() -> None:
    bare = build_clip({**CLIP, "text": None})
    with pytest.raises(ConfigError, match="not of the CLIP family with a text tower"):
        pair_model(bare, recipe("clip"))
    with pytest.raises(ConfigError, match="no text tower"):
        TowerPairs(bare, recipe("clip"))
    with pytest.raises(ConfigError, match="not of the FLAIR family"):
        pair_model(network("convirt"), recipe("flair"))
    for family in FAMILIES:
        made = pair_model(network(family), recipe(family))
        assert pair_loss(made(PICTURES, *tokens(4)), recipe(family))[0]["total"].ndim == 0

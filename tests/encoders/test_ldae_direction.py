"""Directions from probe results, files of our own and the published head; files that hold none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.core.errors import WeightsError
from medfm.encoders.ldae.direction import Direction, load_direction, save_direction
from medfm.encoders.ldae.head import LinearHead

DIM = 6
HEAD = LinearHead(torch.arange(1.0, 7.0), torch.tensor(0.5), torch.linspace(-1, 1, DIM), torch.linspace(0.5, 2, DIM))


def test_a_file_is_read_back_as_it_was(tmp_path):
    path = save_direction(Direction(HEAD, "AD", "tiny", "abc"), tmp_path / "d.json")
    found = load_direction(path, DIM)
    assert (found.towards, found.encoder, found.fingerprint, found.scores) == ("AD", "tiny", "abc", True)
    for name in ("weight", "bias", "mean", "std"):
        torch.testing.assert_close(getattr(found.head, name), getattr(HEAD, name))


def test_without_a_mean_it_moves_and_does_not_score(tmp_path):
    path = save_direction(Direction(HEAD, scores=False), tmp_path / "d.json")
    found = load_direction(path, DIM)
    assert not found.scores and not bool(found.head.mean.any())
    codes = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    # The mean falls out of a move: it is taken away and added again.
    torch.testing.assert_close(found.head.move(codes, 1.5), HEAD.move(codes, 1.5), atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(-4, 4), st.floats(0.1, 50))
def test_a_move_has_the_stated_length_whatever_the_length_of_the_weight(strength, factor):
    codes = torch.zeros(1, DIM)
    moved = LinearHead(HEAD.weight * factor, HEAD.bias, HEAD.mean, HEAD.std).move(codes, strength)
    standard = (moved - codes) / HEAD.std
    assert float(standard.norm()) == pytest.approx(abs(strength) * math.sqrt(DIM), rel=1e-3, abs=1e-4)
    torch.testing.assert_close(moved, HEAD.move(codes, strength), atol=1e-3, rtol=1e-3)


def test_the_result_folder_of_a_probe(tmp_path):
    entry = {"weight": HEAD.weight.tolist(), "std": HEAD.std.tolist(), "towards": "higher age", "fingerprint": "f"}
    (tmp_path / "result.json").write_text(json.dumps({"extras": {"direction": entry}}))
    for place in (tmp_path, tmp_path / "result.json"):
        found = load_direction(place, DIM)
        assert found.towards == "higher age" and found.fingerprint == "f" and not found.scores
        assert torch.equal(found.head.weight, HEAD.weight)


def test_the_published_head_goes_towards_cn(tmp_path):
    torch.save({"weight": HEAD.weight[None], "bias": torch.zeros(1)}, tmp_path / "disease_classifier.ckpt")
    torch.save(HEAD.mean, tmp_path / "semantic_mean.pt")
    torch.save(HEAD.std, tmp_path / "semantic_std.pt")
    for place in (tmp_path, tmp_path / "disease_classifier.ckpt"):
        found = load_direction(place, DIM)
        assert found.towards == "CN" and found.scores and torch.equal(found.head.weight, HEAD.weight)


GOOD = {"weight": [1.0] * DIM, "std": [1.0] * DIM}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "no JSON"),
        ("[]", "holds no direction"),
        ('{"extras": {}}', "This result holds no direction"),
        (json.dumps({"weight": [1.0] * DIM}), "'std' has nothing usable"),
        (json.dumps(GOOD | {"weight": [1.0] * 5}), "'weight' has 5 entries"),
        (json.dumps(GOOD | {"weight": [0.0] * DIM}), "no length"),
        (json.dumps(GOOD | {"std": [1.0] * 5 + [0.0]}), "not positive"),
        (json.dumps(GOOD | {"std": [1.0] * 5 + [-1.0]}), "not positive"),
        (json.dumps(GOOD | {"weight": ["1"] * DIM}), "'weight' has 6 entries"),
        (json.dumps(GOOD | {"weight": [True] * DIM}), "'weight' has 6 entries"),
        (json.dumps(GOOD | {"weight": [float("nan")] * DIM}), "'weight' has 6 entries"),
        (json.dumps(GOOD | {"mean": [0.0]}), "'mean' has 1 entries"),
        (json.dumps(GOOD | {"mean": [0.0] * DIM, "bias": "x"}), "bias"),
    ],
)
def test_files_that_hold_no_direction(tmp_path, content, match):
    path = tmp_path / "d.json"
    path.write_text(content)
    with pytest.raises(WeightsError, match=match) as caught:
        load_direction(path, DIM)
    assert str(path) in str(caught.value)


def test_nothing_there(tmp_path):
    for place in (tmp_path, tmp_path / "no.json", tmp_path / "no.ckpt"):
        with pytest.raises(WeightsError, match="no direction here") as caught:
            load_direction(place, DIM)
        assert "medfm probe" in str(caught.value)


def test_numbers_keep_their_precision(tmp_path):
    exact = LinearHead(torch.tensor(np.pi * np.arange(1, 7), dtype=torch.float32), HEAD.bias, HEAD.mean, HEAD.std)
    found = load_direction(save_direction(Direction(exact), tmp_path / "d.json"), DIM)
    assert torch.equal(found.head.weight, exact.weight)

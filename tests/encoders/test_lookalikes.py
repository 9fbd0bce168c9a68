"""Guesses about a checkpoint that does not fit."""

import torch

from medfm.encoders import get_card
from medfm.encoders.keymaps import KeyReport
from medfm.encoders.lookalikes import hints
from medfm.encoders.published import plain_shapes

EMPTY = KeyReport("flat")


def ghost(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in plain_shapes(get_card(name)).items()}


def test_each_size_is_recognised(mini):
    for name, alike in (
        ("dinobloom-s", "reddino-small"),
        ("dinobloom-b", "reddino-base"),
        ("dinobloom-l", "reddino-large"),
    ):
        assert hints(EMPTY, ghost(name), mini, "f").hints == (f"this looks like {name} or {alike}",)
    assert hints(EMPTY, {"teacher": ghost("dinov2-tiny")}, mini, "f").hints == ("this looks like dinov2-tiny",)


def test_the_giant_under_dinov2_names(mini):
    state = {
        key.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3."): tensor
        for key, tensor in ghost("dinobloom-g").items()
    }
    assert hints(EMPTY, state, mini, "f").hints == ("this looks like dinobloom-g",)


def test_no_guess_for_something_else(mini):
    assert hints(EMPTY, {"conv1.weight": torch.zeros(2)}, mini, "f").hints == ()
    assert hints(EMPTY, {"epoch": 3}, mini, "f").hints == ()


def test_the_encoder_itself_is_not_named():
    card = get_card("dinobloom-s")
    assert hints(EMPTY, ghost("dinobloom-s"), card, "f").hints == ("this looks like reddino-small",)


def test_the_report_is_kept(mini):
    report = KeyReport("flat", missing=("a",))
    assert hints(report, ghost("dinov2-tiny"), mini, "f").missing == ("a",)

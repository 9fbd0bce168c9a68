"""From the names in a checkpoint to the names of a network."""

import pytest
import torch

from medfm.core.errors import WeightsError
from medfm.encoders.card_schema import KeyMap
from medfm.encoders.keymaps import KeyReport, match, plain_state, unnest

WANTED = {"cls_token": (1, 1, 4), "blocks.0.mlp.fc1.weight": (8, 4), "mask_token": (1, 4)}
MAP = KeyMap(
    drop=("dino_head", "ibot_head", "student"),
    prefixes=("module.", "teacher.", "backbone."),
    renames={"mlp.w12": "mlp.fc1"},
    optional=("mask_token",),
)


def tensors(*names: str, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    known = {"cls_token": (1, 1, 4), "mask_token": (1, 4)}
    result = {}
    for name in names:
        leaf = name.rsplit(".", 1)[-1]
        result[name] = torch.zeros(known.get(leaf, (8, 4)))
    return result


GOOD = tensors("cls_token", "blocks.0.mlp.fc1.weight", "mask_token")


def prefixed(prefix: str, state: dict[str, torch.Tensor] = GOOD) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("checkpoint", "layout"),
    [
        (GOOD, "flat, bare names"),
        (prefixed("backbone."), "flat, names begin with 'backbone.'"),
        (prefixed("module.backbone."), "flat, names begin with 'module.backbone.'"),
        ({"teacher": prefixed("backbone.")}, "under 'teacher', names begin with 'backbone.'"),
        ({"state_dict": prefixed("module."), "epoch": 3}, "under 'state_dict', names begin with 'module.'"),
        ({"model": GOOD, "optimizer": {"lr": 1}}, "under 'model', bare names"),
        ({"model": prefixed("teacher.backbone.")}, "under 'model', names begin with 'teacher.backbone.'"),
    ],
)
def test_layouts(checkpoint, layout):
    found, report = match(checkpoint, WANTED, MAP, "file")
    assert set(found) == set(WANTED)
    assert report.ok and report.layout == layout
    assert set(report.loaded) == set(WANTED)


def test_heads_are_dropped_whatever_their_shape():
    heads = {"dino_head.mlp.0.weight": torch.zeros(3, 3), "ibot_head.last_layer.weight_v": torch.zeros(9)}
    _, report = match({"teacher": prefixed("backbone.") | heads}, WANTED, MAP, "file")
    assert report.ok
    assert set(report.dropped) == set(heads)


def test_a_drop_word_must_be_a_whole_part_of_the_name():
    _, report = match(GOOD | {"my_dino_head_2.weight": torch.zeros(1)}, WANTED, MAP, "file")
    assert report.unexpected == ("my_dino_head_2.weight",)


def test_student_and_teacher_in_one_file():
    both = prefixed("student.backbone.") | prefixed("teacher.backbone.")
    found, report = match({"model": both}, WANTED, MAP, "file")
    assert report.ok and len(report.dropped) == len(GOOD)
    assert found["cls_token"] is both["teacher.backbone.cls_token"]


def test_renames_of_a_dotted_part():
    state = tensors("cls_token", "blocks.0.mlp.w12.weight", "mask_token")
    found, report = match(state, WANTED, MAP, "file")
    assert report.ok and "blocks.0.mlp.fc1.weight" in found
    plain, _, _ = plain_state({"xmlp.w12.weight": torch.zeros(1)}, MAP, "file")
    assert set(plain) == {"xmlp.w12.weight"}


def test_the_mask_token_may_be_absent():
    _, report = match(tensors("cls_token", "blocks.0.mlp.fc1.weight"), WANTED, MAP, "file")
    assert report.ok and report.absent == ("mask_token",)
    assert "absent as the card allows (1): mask_token" in str(report)


def test_missing_unexpected_and_wrong_shape_are_all_reported():
    state = {"cls_token": torch.zeros(1, 1, 8), "extra.bias": torch.zeros(1)}
    found, report = match(state, WANTED, MAP, "file")
    assert found == {} and not report.ok
    assert report.missing == ("blocks.0.mlp.fc1.weight",)
    assert report.unexpected == ("extra.bias",)
    assert report.mismatched == (("cls_token", (1, 1, 8), (1, 1, 4)),)
    text = str(report)
    assert "missing (1): blocks.0.mlp.fc1.weight" in text
    assert "unexpected (1): extra.bias" in text
    assert "cls_token has (1, 1, 8), needs (1, 1, 4)" in text


def test_long_lists_are_cut_in_the_text_only():
    report = KeyReport("flat", missing=tuple(f"t{i}" for i in range(30)))
    assert "missing (30): t0, t1" in str(report) and "and 22 more" in str(report)
    assert len(report.missing) == 30


def test_hints_are_shown():
    assert str(KeyReport("flat", hints=("this looks like x",))).endswith("hint: this looks like x")


def test_two_tensors_with_one_plain_name():
    with pytest.raises(WeightsError, match="both 'cls_token'"):
        match(GOOD | prefixed("backbone."), WANTED, MAP, "file")


def test_the_order_of_nesting_decides():
    checkpoint = {"teacher": prefixed("backbone."), "model": tensors("cls_token")}
    assert unnest(checkpoint, ("teacher", "model"), "f")[1] == "under 'teacher'"
    assert unnest(checkpoint, ("model", "teacher"), "f")[1] == "under 'model'"


@pytest.mark.parametrize(
    "checkpoint", [{}, {"teacher": {}}, {"teacher": {"a": 1}}, {"weights": GOOD}, {"a": 1, "b": "x"}]
)
def test_nothing_that_looks_like_tensors(checkpoint):
    with pytest.raises(WeightsError, match="No dictionary of tensors"):
        match(checkpoint, WANTED, MAP, "file")


def test_the_message_lists_what_the_file_holds():
    with pytest.raises(WeightsError, match="'weights', 'epoch'"):
        unnest({"weights": GOOD, "epoch": 1}, ("teacher", "flat"), "f")


WITHIN = KeyMap(nesting=("state_dict", "flat"), within=("ema.", "own."), prefixes=("module.",))
PLAIN = {"cls_token": (1, 1, 4)}


@pytest.mark.parametrize(
    ("names", "start", "dropped"),
    [
        (["ema.cls_token", "own.cls_token", "vae.more"], "ema.", {"own.cls_token", "vae.more"}),
        (["own.cls_token", "vae.cls_token"], "own.", {"vae.cls_token"}),
        (["cls_token"], "", set()),
        (["module.cls_token"], "", set()),
    ],
)
def test_one_network_of_a_file_that_holds_several(names, start, dropped):
    found, report = match({"state_dict": tensors(*names)}, PLAIN, WITHIN, "file")
    assert report.ok and set(found) == {"cls_token"}
    assert set(report.dropped) == dropped
    assert (f"the network '{start}' of several" in report.layout) is bool(start)


def test_the_first_beginning_that_occurs_is_taken_even_if_it_does_not_fit():
    """Nothing falls back silently to another copy of the network."""
    given = {"ema.other": torch.zeros(1), "own.cls_token": torch.zeros(1, 1, 4)}
    _, report = match(given, PLAIN, WITHIN, "file")
    assert report.missing == ("cls_token",) and report.unexpected == ("other",)


def test_a_beginning_counts_at_the_front_only():
    _, report = match({"x.ema.cls_token": torch.zeros(1, 1, 4)}, PLAIN, WITHIN, "file")
    assert not report.ok and report.unexpected == ("x.ema.cls_token",)

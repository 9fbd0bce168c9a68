"""Untrained networks by id, and checkpoints loaded in every layout a card declares."""

import pytest
import torch
from safetensors.torch import save_file

from medfm import encoders
from medfm.core.errors import UnknownNameError, WeightsError
from medfm.encoders.dinov2 import build_vit, published_state
from medfm.encoders.published import build, load_published, plain_shapes


def equal(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> bool:
    ours = published_state(module, prefix="")
    return set(ours) == set(state) and all(torch.equal(ours[name], state[name]) for name in state)


def test_build_by_id_is_seeded():
    assert equal(build("dinov2-tiny", seed=4), published_state(build("dinov2-tiny", seed=4), prefix=""))
    assert not equal(build("dinov2-tiny", seed=4), published_state(build("dinov2-tiny", seed=5), prefix=""))


def test_build_is_trainable_and_in_training_mode():
    module = encoders.build("dinov2-tiny")
    assert module.training and all(p.requires_grad for p in module.parameters())


def test_build_unknown():
    with pytest.raises(UnknownNameError, match="dinov2-tiny"):
        build("dinov2-tinny")


def test_plain_shapes_without_memory(mini):
    shapes = plain_shapes(mini)
    assert shapes["pos_embed"] == (1, 17, 32) and shapes["mask_token"] == (1, 32)


@pytest.mark.parametrize("nest", [None, "teacher", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone.", "teacher.backbone."])
def test_every_layout_gives_the_same_network(mini, mini_state, nest, prefix):
    state = {prefix + name: tensor for name, tensor in mini_state.items()}
    module, report = load_published(mini, {nest: state} if nest else state)
    assert report.ok and equal(module, mini_state)


def test_from_files(mini, mini_state, tmp_path):
    torch.save({"teacher": mini_state}, tmp_path / "a.pth")
    save_file(mini_state, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.pth", str(tmp_path / "a.safetensors")):
        module, report = load_published(mini, path)
        assert equal(module, mini_state)
        assert not module.training and all(p.requires_grad for p in module.parameters())
        assert len(report.loaded) == len(mini_state)


def test_by_card_file(mini, mini_state):
    assert equal(load_published(mini.path, mini_state)[0], mini_state)


def test_the_network_is_a_copy_of_what_was_given(mini, mini_state):
    module, _ = load_published(mini, mini_state)
    before = mini_state["cls_token"].clone()
    with torch.no_grad():
        module.vit.cls_token.add_(1)
    assert torch.equal(mini_state["cls_token"], before)


def test_the_network_outlives_a_change_of_its_file(mini, mini_state, tmp_path):
    torch.save(mini_state, tmp_path / "a.pth")
    module, _ = load_published(mini, tmp_path / "a.pth")
    with (tmp_path / "a.pth").open("r+b") as handle:
        handle.write(b"\xff" * (tmp_path / "a.pth").stat().st_size)
    assert equal(module, mini_state)


def test_timm_layout_without_mask_token(mini, mini_state):
    state = {name: tensor for name, tensor in mini_state.items() if name != "mask_token"}
    module, report = load_published(mini, state)
    assert report.absent == ("mask_token",)
    assert (module.mask_token == 0).all()


def test_half_precision_checkpoints_become_float32(mini, mini_state):
    module, _ = load_published(mini, {name: tensor.half() for name, tensor in mini_state.items()})
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_missing_tensor_fails(mini, mini_state):
    del mini_state["blocks.1.ls2.gamma"]
    with pytest.raises(WeightsError, match=r"missing \(1\): blocks\.1\.ls2\.gamma"):
        load_published(mini, mini_state)


def test_an_undeclared_tensor_fails(mini, mini_state):
    with pytest.raises(WeightsError, match=r"unexpected \(1\): head\.weight"):
        load_published(mini, mini_state | {"head.weight": torch.zeros(2)})


def test_values_that_are_not_finite_fail(mini, mini_state):
    mini_state["norm.bias"][3] = float("nan")
    with pytest.raises(WeightsError, match=r"not finite.*norm\.bias"):
        load_published(mini, mini_state)


def test_a_checkpoint_of_another_model_says_what_it_looks_like(mini):
    other = published_state(build("dinov2-tiny"), prefix="backbone.")
    with pytest.raises(WeightsError) as error:
        load_published(mini, {"teacher": other})
    text = str(error.value)
    assert "does not fit 'mini'" in text and "this looks like dinov2-tiny" in text
    assert "wrong shape" in text and "layout: under 'teacher'" in text


def test_the_other_way_round_among_the_shipped_cards():
    small = {
        name: torch.empty(shape, device="meta")
        for name, shape in plain_shapes(encoders.get_card("dinobloom-s")).items()
    }
    with pytest.raises(WeightsError, match="this looks like dinobloom-s or reddino-small"):
        load_published("dinobloom-b", small)


def test_an_original_dinov2_model_is_recognised(mini):
    args = {"size": "custom", "width": 32, "depth": 2, "heads": 2, "patch": 14, "img_size": 518}
    with pytest.raises(WeightsError, match="1370 rows belongs to 518-pixel"):
        load_published(mini, published_state(build_vit(args)))


def test_a_register_model_is_recognised(mini, mini_state):
    with pytest.raises(WeightsError, match="register tokens"):
        load_published(mini, mini_state | {"register_tokens": torch.zeros(1, 4, 32)})


def test_a_vit_without_layer_scale_is_recognised(mini, mini_state):
    state = {name: tensor for name, tensor in mini_state.items() if "gamma" not in name}
    with pytest.raises(WeightsError, match="no LayerScale"):
        load_published(mini, state)


def test_a_state_dict_of_something_else(mini):
    with pytest.raises(WeightsError, match="missing"):
        load_published(mini, {"conv1.weight": torch.zeros(64, 3, 7, 7)})
    with pytest.raises(WeightsError, match="No dictionary of tensors"):
        load_published(mini, {"epoch": 3})


def test_a_file_that_holds_no_dictionary(mini, tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        load_published(mini, tmp_path / "list.pth")


def test_no_memory_is_needed_to_refuse(mini):
    """The report comes from shapes: the tensors themselves may even be on the meta device."""
    giant = {
        name: torch.empty(shape, device="meta")
        for name, shape in plain_shapes(encoders.get_card("dinobloom-g")).items()
    }
    with pytest.raises(WeightsError, match="dinobloom-g"):
        load_published(mini, giant)

"""A checkpoint whose neighbours or name contradict the card is refused."""

import json
from pathlib import Path

import pytest
from test_clip_networks import flat_state, tiny_card

from medfm.core.errors import WeightsError
from medfm.encoders.beside import check_beside
from medfm.encoders.card import write_card
from medfm.encoders.load import load_encoder
from medfm.encoders.registry import get_card

OPEN_CLIP = {
    "model_cfg": {"embed_dim": 512, "vision_cfg": {"image_size": 224, "layers": 12}, "text_cfg": {"width": 512}}
}


def put(folder: Path, name: str, values: object) -> None:
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")


def clip_config(activation: str | None = "gelu", size: int = 224) -> dict[str, object]:
    part = {} if activation is None else {"hidden_act": activation}
    return {"model_type": "clip", "text_config": part, "vision_config": {**part, "image_size": size}}


def test_nothing_beside_says_nothing(tmp_path):
    check_beside(get_card("quiltnet-b-32"), tmp_path / "open_clip_pytorch_model.bin")
    check_beside(get_card("dinobloom-s"), tmp_path / "whatever.pth")


def test_open_clip_takes_an_absent_key_for_gelu(tmp_path):
    put(tmp_path, "open_clip_config.json", OPEN_CLIP)
    check_beside(get_card("quiltnet-b-32"), tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError, match="says activation gelu, the card of 'pathgen-clip' says quick_gelu"):
        check_beside(get_card("pathgen-clip"), tmp_path / "open_clip_pytorch_model.bin")


def test_open_clip_that_says_quick_gelu(tmp_path):
    values = {"model_cfg": {**OPEN_CLIP["model_cfg"], "quick_gelu": True}}
    put(tmp_path, "open_clip_config.json", values)
    check_beside(get_card("pathgen-clip"), tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError) as error:
        check_beside(get_card("quiltnet-b-16"), tmp_path / "open_clip_pytorch_model.bin")
    assert "architecture={'activation': 'quick_gelu'}" in str(error.value)


def test_transformers_takes_an_absent_key_for_quick_gelu(tmp_path):
    put(tmp_path, "config.json", clip_config(None))
    with pytest.raises(WeightsError, match="activation quick_gelu"):
        check_beside(get_card("quiltnet-b-32"), tmp_path / "pytorch_model.bin")
    put(tmp_path, "config.json", clip_config("gelu"))
    check_beside(get_card("quiltnet-b-32"), tmp_path / "pytorch_model.bin")


def test_each_file_is_judged_by_its_own_configuration(tmp_path):
    """The two loaders of one repository disagree: each file goes with its own."""
    put(tmp_path, "config.json", clip_config("quick_gelu"))
    put(tmp_path, "open_clip_config.json", OPEN_CLIP)
    check_beside(get_card("quiltnet-b-32"), tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(WeightsError):
        check_beside(get_card("quiltnet-b-32"), tmp_path / "model.safetensors")


@pytest.mark.parametrize("size", [224, 518])
def test_the_image_size_beside(tmp_path, size):
    put(tmp_path, "config.json", clip_config("quick_gelu", size))
    with pytest.raises(WeightsError, match=f"image size {size}, the card of 'pathgen-clip-l' says 336"):
        check_beside(get_card("pathgen-clip-l"), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "values",
    [
        "",
        "{",
        "[1, 2]",
        "null",
        {"model_type": "bert"},
        {"model_type": "clip", "vision_config": 3},
        {"vision_config": []},
    ],
)
def test_strange_configurations_are_no_crash(tmp_path, values):
    for name in ("config.json", "open_clip_config.json"):
        put(tmp_path, name, values)
    for file in ("model.safetensors", "open_clip_pytorch_model.bin"):
        check_beside(get_card("pathgen-clip"), tmp_path / file) if "clip" not in str(values) else None


def test_a_timm_tower_has_no_choice_of_activation(tmp_path):
    values = {"model_cfg": {"vision_cfg": {"timm_model_name": "vit_base_patch16_224", "image_size": 224}}}
    put(tmp_path, "open_clip_config.json", values)
    check_beside(get_card("quiltnet-b-16-pmb"), tmp_path / "open_clip_pytorch_model.bin")


def test_the_published_name_of_another_model(tmp_path):
    file = tmp_path / "pathgenclip.pt"
    check_beside(get_card("pathgen-clip"), file)
    with pytest.raises(WeightsError, match="named like the published checkpoint of 'pathgen-clip'") as error:
        check_beside(get_card("quiltnet-b-16"), file)
    assert "load it as 'pathgen-clip'" in str(error.value)


def test_loading_goes_through_it(tmp_path):
    import torch

    card = tiny_card()
    write_card(tmp_path / "tiny.md", card.header, card.prose)
    torch.save(flat_state(card), tmp_path / "open_clip_pytorch_model.bin")
    assert load_encoder(tmp_path / "tiny.md", weights=tmp_path / "open_clip_pytorch_model.bin").has_text
    put(tmp_path, "open_clip_config.json", {"model_cfg": {"quick_gelu": True, "vision_cfg": {"image_size": 32}}})
    with pytest.raises(WeightsError, match="says activation quick_gelu"):
        load_encoder(tmp_path / "tiny.md", weights=tmp_path / "open_clip_pytorch_model.bin")
    followed = load_encoder(
        tmp_path / "tiny.md",
        weights=tmp_path / "open_clip_pytorch_model.bin",
        architecture={"activation": "quick_gelu"},
    )
    assert "QuickGELU" in followed.weights_note


def test_the_doctor_sees_it_too(tmp_path, monkeypatch):
    from medfm.workflows.doctor import diagnose

    folder = tmp_path / "quiltnet-b-32"
    folder.mkdir()
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"PK\x03\x04 not read without --check-files")
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    put(folder, "open_clip_config.json", OPEN_CLIP)
    assert diagnose(("quiltnet-b-32",)).encoders[0].state == "PASS"
    put(folder, "open_clip_config.json", {"model_cfg": {**OPEN_CLIP["model_cfg"], "quick_gelu": True}})
    (finding,) = diagnose(("quiltnet-b-32",)).encoders
    assert finding.state == "FAIL" and "quick_gelu" in finding.missing


def test_a_file_that_does_not_exist_is_called_that(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_encoder("quiltnet-b-16", weights=tmp_path / "pathgenclip.pt")

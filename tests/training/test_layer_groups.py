"""Layer groups of every encoder of the package: ordered, complete, disjoint."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medfm.core.errors import ConfigError
from medfm.encoders.published import build, family_of
from medfm.encoders.registry import get_card, list_encoders
from medfm.training.layer_groups import LayerGroup, layer_groups, quarters, unused_by

# One or two of every family: the others differ in size alone.
ENCODERS = [
    "convirt-tiny", "dinobloom-s", "dinov2-tiny", "flair-tiny", "imagenet-resnet50", "keep", "ldae-brain-mri", "ldae-tiny",
    "medicalnet-resnet18-3d", "merl-resnet18", "merl-tiny", "merl-vit-tiny", "quiltnet-tiny", "swinunetr-encoder", "xrv-densenet121", "xrv-resnet50",
]  # fmt: skip
RESNET = ["stem", "layer1", "layer2", "layer3", "layer4"]


def groups_of(name: str, blocks: bool = False) -> tuple[nn.Module, list[LayerGroup]]:
    card = get_card(name)
    module = build(card, device="meta")
    return module, layer_groups(module, unused_by(module, card), blocks=blocks)


def test_every_family_with_weights_is_among_them() -> None:
    every = {get_card(name).spec.architecture.family for name in list_encoders()} - {"color-histogram", "volume-stats"}
    assert {get_card(name).spec.architecture.family for name in ENCODERS} >= every


@pytest.mark.parametrize("name", ENCODERS)
def test_every_parameter_that_counts_is_in_exactly_one_group(name: str) -> None:
    card = get_card(name)
    family, _ = family_of(card)
    for blocks in (False, True):
        module, groups = groups_of(name, blocks)
        placed = [p for group in groups for p in group.parameters]
        assert len(placed) == len(set(placed))
        keys = family.plain_names(module)
        wanted = {
            key for plain, key in keys.items() if not (family.is_text(plain) or family.is_training_only(plain))
        } & {n for n, _ in module.named_parameters()}
        assert set(placed) == wanted
        assert len({group.name for group in groups}) == len(groups)
        assert all(group.parameters for group in groups)
        modules = [m for group in groups for m in group.modules]
        assert len(modules) == len(set(modules))
        # Every module that holds a parameter of a group belongs to that group.
        for group in groups:
            assert {p.rpartition(".")[0] for p in group.parameters} <= set(group.modules) | {""} or group.name in (
                "stem",
                "top",
            )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("imagenet-resnet50", RESNET),
        ("merl-resnet18", [*RESNET, "top"]),
        ("merl-tiny", [*RESNET, "top"]),
        ("flair-tiny", [*RESNET, "top"]),
        ("convirt-tiny", [*RESNET, "top"]),
        ("dinov2-tiny", ["stem", *(f"block{i}" for i in range(4)), "top"]),
        ("dinobloom-s", ["stem", *(f"block{i}" for i in range(12)), "top"]),
        ("merl-vit-tiny", ["stem", *(f"block{i}" for i in range(12)), "top"]),
        ("quiltnet-tiny", ["stem", *(f"block{i}" for i in range(3)), "top"]),
        ("ldae-brain-mri", ["stem", "stage1", "stage2", "stage3", "stage4", "top"]),
    ],
)
def test_the_order_is_from_stem_to_top(name: str, expected: list[str]) -> None:
    assert [group.name for group in groups_of(name)[1]] == expected


def test_a_pooling_head_is_no_stem_and_a_downsampling_belongs_to_its_stage() -> None:
    by_name = {group.name: group for group in groups_of("merl-resnet18")[1]}
    assert "att_pool_head.cls_token" in by_name["top"].parameters
    assert by_name["stem"].parameters == ("ecg_encoder.conv1.weight", "ecg_encoder.bn1.weight", "ecg_encoder.bn1.bias")
    assert "ecg_encoder.layer2.0.shortcut.0.weight" in by_name["layer2"].parameters
    brain = {group.name: group for group in groups_of("ldae-brain-mri")[1]}
    assert any(p.startswith("backbone.features.2.") for p in brain["stage2"].parameters)
    assert not any(p.startswith("backbone.features.2.") for p in brain["stage1"].parameters)
    assert all(p.startswith("backbone.features.0.") for p in brain["stem"].parameters)


def test_the_text_tower_is_in_no_group() -> None:
    module, groups = groups_of("quiltnet-tiny")
    placed = {p for group in groups for p in group.parameters}
    assert not any(p.startswith("text") or p == "logit_scale" for p in placed)
    assert any(n.startswith("text") for n, _ in module.named_parameters())


def test_blocks_cut_stages_in_order() -> None:
    names = [group.name for group in groups_of("imagenet-resnet50", blocks=True)[1]]
    assert names[:5] == ["stem", "layer1.0", "layer1.1", "layer1.2", "layer2.0"] and len(names) == 17
    brain = [group.name for group in groups_of("ldae-brain-mri", blocks=True)[1]]
    assert brain[1:6] == ["stage1.0", "stage1.1", "stage1.2", "stage2.down", "stage2.0"]
    assert [g.name for g in groups_of("dinov2-tiny", blocks=True)[1]] == [g.name for g in groups_of("dinov2-tiny")[1]]


def test_a_swin_goes_by_its_stages_and_a_downsampling_closes_its_stage() -> None:
    groups = {group.name: group for group in groups_of("swinunetr-encoder")[1]}
    assert list(groups) == ["stem", "layers1", "layers2", "layers3", "layers4"]
    assert groups["stem"].parameters == ("network.patch_embed.proj.weight", "network.patch_embed.proj.bias")
    assert "network.layers3.0.downsample.norm.weight" in groups["layers3"].parameters
    fine = [group.name for group in groups_of("swinunetr-encoder", blocks=True)[1]]
    assert fine[:5] == ["stem", "layers1.0", "layers1.1", "layers1.down", "layers2.0"] and len(fine) == 13
    assert [g.name for g in quarters(groups_of("swinunetr-encoder")[1])["stage4"]] == ["layers4"]


def test_quarters_are_the_layers_of_a_resnet_and_three_blocks_of_a_vit() -> None:
    parts = quarters(groups_of("imagenet-resnet50")[1])
    assert {k: [g.name for g in v] for k, v in parts.items()} == {
        "stem": ["stem"], "stage1": ["layer1"], "stage2": ["layer2"], "stage3": ["layer3"], "stage4": ["layer4"], "top": [],
    }  # fmt: skip
    vit = quarters(groups_of("dinobloom-s")[1])
    assert [g.name for g in vit["stage4"]] == ["block9", "block10", "block11"]
    small = quarters(groups_of("quiltnet-tiny")[1])  # three blocks
    assert [len(small[f"stage{i}"]) for i in range(1, 5)] == [0, 1, 1, 1]
    for name in ("ldae-tiny", "merl-tiny"):
        groups = groups_of(name)[1]
        assert [g.name for part in quarters(groups).values() for g in part] == [g.name for g in groups]


def test_a_densenet_goes_by_its_blocks_with_their_transitions() -> None:
    import torchvision

    with torch.device("meta"):
        network = torchvision.models.densenet121(weights=None)
    groups = {g.name: g for g in layer_groups(network)}
    assert list(groups) == ["stem", "denseblock1", "denseblock2", "denseblock3", "denseblock4", "top"]
    assert "features.transition1.norm.weight" in groups["denseblock1"].parameters
    assert {"features.norm5.weight", "classifier.weight"} <= set(groups["top"].parameters)
    assert set(groups["stem"].parameters) == {"features.conv0.weight", "features.norm0.weight", "features.norm0.bias"}


def test_an_unknown_network_goes_by_its_children() -> None:
    inner = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Linear(4, 2))
    wrapped = nn.ModuleDict({"encoder": inner})
    groups = layer_groups(wrapped)
    assert [g.name for g in groups] == ["encoder.0", "encoder.2", "encoder.3"]
    assert [p for g in groups for p in g.parameters] == [n for n, _ in wrapped.named_parameters()]


def test_a_network_without_weights_is_refused() -> None:
    card = get_card("color-histogram")
    module = build(card)
    with pytest.raises(ConfigError, match="no weights to train"):
        layer_groups(module, unused_by(module, card))


@st.composite
def nested(draw: st.DrawFn, depth: int = 3) -> nn.Module:
    """A random tree of small layers."""
    leaves = [nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.1), nn.Identity()]
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(leaves))
    names = draw(
        st.lists(st.sampled_from(["a", "b", "layer1", "blocks", "conv1", "norm"]), min_size=1, max_size=3, unique=True)
    )
    return nn.ModuleDict({name: draw(nested(depth - 1)) for name in names})


@settings(max_examples=60, deadline=None)
@given(nested())
def test_whatever_the_network_every_parameter_has_one_group(module: nn.Module) -> None:
    names = [name for name, _ in module.named_parameters()]
    for blocks in (False, True):
        if not names:
            with pytest.raises(ConfigError):
                layer_groups(module, blocks=blocks)
            continue
        groups = layer_groups(module, blocks=blocks)
        assert sorted(p for g in groups for p in g.parameters) == sorted(names)
        assert len({g.name for g in groups}) == len(groups)
        parts = quarters(groups)
        assert [g.name for part in parts.values() for g in part if g.name not in ("stem", "top")] == [
            g.name for g in groups if g.name not in ("stem", "top")
        ]


@pytest.mark.parametrize("layers", range(1, 26))
def test_quarters_are_as_near_to_equal_as_can_be(layers: int) -> None:
    groups = [LayerGroup(f"block{i}", (f"p{i}",), ()) for i in range(layers)]
    sizes = [len(quarters(groups)[f"stage{i}"]) for i in range(1, 5)]
    assert sum(sizes) == layers and max(sizes) - min(sizes) <= 1
    assert sizes[3] >= 1  # the top quarter is never empty

"""3D ResNets: MONAI's network where stages stride, MedicalNet's where they dilate, compared with convolutions written out."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medfm.core.errors import ConfigError
from medfm.encoders import resnet3d
from medfm.encoders.families import family_args
from medfm.encoders.resnet3d import Block, Padded, build_resnet3d, plain_names
from medfm.encoders.volume_args import ResNet3dArgs
from medfm.testing import synthetic_state

ALL = ["resnet10", "resnet18", "resnet34", "resnet50"]
WIDTH = 4


def small(backbone: str = "resnet10", dilated: bool = True, width: int = WIDTH) -> nn.Module:
    """A narrow network whose every number follows from its name."""
    module = build_resnet3d({"backbone": backbone, "width": width, "dilated": dilated}).eval()
    names = plain_names(module)
    state = synthetic_state({plain: tuple(module.state_dict()[key].shape) for plain, key in names.items()})
    module.load_state_dict({names[plain]: tensor for plain, tensor in state.items()}, strict=False)
    return module


def monai_network(backbone: str, width: int, device: str = "cpu"):
    nets = pytest.importorskip("monai.networks.nets.resnet")
    blocks = {"resnet10": [1] * 4, "resnet18": [2] * 4}.get(backbone, [3, 4, 6, 3])
    bias, shortcut = nets.get_medicalnet_pretrained_resnet_args(int(backbone.removeprefix("resnet")))
    with torch.device(device):
        return nets.ResNet(
            "bottleneck" if backbone == "resnet50" else "basic",
            blocks,
            [width, 2 * width, 4 * width, 8 * width],
            n_input_channels=1,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            bias_downsample=bias,
            feed_forward=False,
        ).eval()


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backbone", ALL)
def test_names_and_shapes_are_those_that_monai_loads_medicalnet_into(backbone):
    """MONAI loads the published files strictly, so its names and shapes are theirs."""
    theirs = monai_network(backbone, 64, "meta").state_dict()
    ours = build_resnet3d({"backbone": backbone, "dilated": True}, device="meta")
    expected = {key: tuple(value.shape) for key, value in theirs.items() if "num_batches_tracked" not in key}
    assert {plain: tuple(ours.state_dict()[key].shape) for plain, key in plain_names(ours).items()} == expected
    assert ours.args.dim == expected["layer4.0.conv3.weight" if backbone == "resnet50" else "layer4.0.conv2.weight"][0]


@pytest.mark.parametrize("backbone", ALL)
def test_the_strided_form_is_monais_network(backbone):
    ours, theirs = small(backbone, dilated=False), monai_network(backbone, WIDTH)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = batch(2, 1, 33, 40, 35)
    with torch.no_grad():
        np.testing.assert_allclose(ours(x).numpy(), theirs(x).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dilated", "sides"), [(True, (4, 5, 5)), (False, (1, 2, 2))])
def test_the_resolution_of_the_last_map(dilated, sides):
    """An eighth or a 32nd, rounded up."""
    with torch.no_grad():
        assert small(dilated=dilated).feature_map(batch(1, 1, 32, 40, 33)).shape[2:] == sides


@pytest.mark.parametrize("backbone", ALL)
def test_where_convolutions_stride_and_dilate(backbone):
    """As Tencent/MedicalNet, models/resnet.py: the third and fourth stage dilate by 2 and 4 in every 3x3x3 convolution."""
    for dilated in (True, False):
        module = build_resnet3d({"backbone": backbone, "dilated": dilated}, device="meta")
        for stage in range(1, 5):
            layer = module.get_submodule(f"layer{stage}")
            convolutions = [part for part in layer.modules() if isinstance(part, nn.Conv3d)]
            threes = [part for part in convolutions if part.kernel_size == (3, 3, 3)]
            dilation = {3: 2, 4: 4}.get(stage, 1) if dilated else 1
            assert {part.dilation for part in threes} == {part.padding for part in threes} == {(dilation,) * 3}
            stride = 1 if stage == 1 or (dilated and stage > 2) else 2
            assert [part.stride[0] for part in threes] == [stride] + [1] * (len(threes) - 1)


def naive_conv(x: np.ndarray, weight: np.ndarray, stride: int, dilation: int) -> np.ndarray:
    """A 3x3x3 convolution padded by its dilation, voxel by voxel."""
    padded = np.pad(x, [(0, 0)] + [(dilation, dilation)] * 3)
    sides = [(side - 1) // stride + 1 for side in x.shape[1:]]
    out = np.zeros((len(weight), *sides))
    for i, j, k in np.ndindex(*sides):
        window = padded[
            :,
            i * stride : i * stride + 2 * dilation + 1 : dilation,
            j * stride : j * stride + 2 * dilation + 1 : dilation,
            k * stride : k * stride + 2 * dilation + 1 : dilation,
        ]
        out[:, i, j, k] = (weight * window).sum(axis=(1, 2, 3, 4))
    return out


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (1, 4)])
def test_a_block_written_out(stride, dilation):
    args = ResNet3dArgs(backbone="resnet18", width=2, dilated=True)
    block = Block(args, 2, 4, stride, dilation).double().eval()
    for part in block.modules():
        if isinstance(part, nn.BatchNorm3d):
            for number, tensor in enumerate((part.weight.data, part.bias.data, part.running_mean, part.running_var)):
                tensor.copy_(torch.linspace(0.5, 1.5, 4) + number / 10)
    x = batch(1, 2, 6, 5, 7).double()

    def norm(values: np.ndarray, part: nn.BatchNorm3d) -> np.ndarray:
        w, b, m, v = (
            t.detach().numpy()[:, None, None, None]
            for t in (part.weight, part.bias, part.running_mean, part.running_var)
        )
        return (values - m) / np.sqrt(v + part.eps) * w + b

    h = np.maximum(norm(naive_conv(x[0].numpy(), block.conv1.weight.detach().numpy(), stride, dilation), block.bn1), 0)
    h = norm(naive_conv(h, block.conv2.weight.detach().numpy(), 1, dilation), block.bn2)
    shortcut = np.concatenate([x[0].numpy()[:, ::stride, ::stride, ::stride], np.zeros((2, *h.shape[1:]))])
    with torch.no_grad():
        np.testing.assert_allclose(block(x)[0].numpy(), np.maximum(h + shortcut, 0), atol=1e-10)


def test_the_shortcut_without_weights_keeps_voxels_and_adds_zeros():
    x = batch(2, 3, 5, 4, 3)
    out = Padded(7, 2)(x)
    assert out.shape == (2, 7, 3, 2, 2) and torch.equal(out[:, :3], x[:, :, ::2, ::2, ::2]) and not out[:, 3:].any()
    assert not list(Padded(7, 2).parameters())


def test_the_two_forms_share_tensors_and_differ_in_values():
    dilated, strided = small(), small(dilated=False)
    assert all(
        torch.equal(a, b) for a, b in zip(dilated.state_dict().values(), strided.state_dict().values(), strict=True)
    )
    x = batch(1, 1, 32, 32, 32)
    with torch.no_grad():
        a, b = dilated(x), strided(x)
    assert float((a - b).abs().max()) > 0.01


def test_files_need_not_hold_counters_of_batches():
    module = build_resnet3d({"backbone": "resnet10", "width": 2, "dilated": True})
    assert any(key.endswith("num_batches_tracked") for key in module.state_dict())
    assert not any("num_batches_tracked" in plain for plain in plain_names(module))


def test_first_weights_follow_from_the_seed_and_leave_the_global_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    args = {"backbone": "resnet10", "width": 8, "dilated": True}
    one, two, other = (build_resnet3d(args, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)
    spread = float(one.layer4[0].conv2.weight.detach().std())
    assert spread == pytest.approx((2 / (64 * 27)) ** 0.5, rel=0.05)
    assert one.training and one.bn1.weight.eq(1).all() and one.bn1.running_var.eq(1).all()


def test_every_weight_gets_a_gradient():
    module = build_resnet3d({"backbone": "resnet18", "width": 2, "dilated": True})
    module(batch(2, 1, 16, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("shape", [(1, 3, 16, 16, 16), (1, 16, 16, 16), (1, 1, 16, 16)])
def test_other_tensors_are_refused(shape):
    with pytest.raises(ConfigError, match=r"cannot be encoded"):
        small()(torch.zeros(shape))


@pytest.mark.parametrize(
    "values",
    [
        {"backbone": "resnet200", "dilated": True},
        {"backbone": "resnet50"},
        {"backbone": "resnet50", "dilated": True, "width": 0},
    ],
)
def test_wrong_arguments_are_refused(values):
    with pytest.raises(ConfigError):
        family_args("resnet3d", values, "card.md")


def test_it_needs_no_extra():
    """Nothing is imported but torch, this package and what Python brings."""
    lines = Path(resnet3d.__file__).read_text(encoding="utf-8").splitlines()
    imported = {line.split()[1].split(".")[0] for line in lines if line.strip().startswith(("import ", "from "))}
    assert imported - sys.stdlib_module_names == {"torch", "medfm"}

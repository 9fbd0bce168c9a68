"""Whole pickled networks and pickled settings: their tensors are read, nothing of theirs runs."""

import dataclasses
import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from medfm.core.errors import WeightsError
from medfm.encoders.inert import Inert, may_be_inert, stand_in, state_of
from medfm.encoders.registry import get_card
from medfm.encoders.safety import load_checkpoint, requested_globals

NAMES = get_card("xrv-densenet121").spec.weights.safe_globals
CONFIG = ("__main__.ModelConfig",)


@pytest.fixture
def library() -> Iterator[types.ModuleType]:
    """Something called ``torchxrayvision.models`` for as long as a file is written."""
    module = types.ModuleType("torchxrayvision.models")

    class _DenseLayer(nn.Sequential):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("norm1", nn.BatchNorm2d(2))
            self.add_module("relu1", nn.ReLU(inplace=True))
            self.add_module("conv1", nn.Conv2d(2, 3, 1, bias=False))
            self.drop_rate = 0

    class DenseNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), _DenseLayer(), nn.AvgPool2d(2))
            self.classifier = nn.Linear(3, 2)
            self.targets = ["Mass", "Hernia"]
            self.register_buffer("op_threshs", torch.tensor([0.1, float("nan")]))
            self.register_buffer("scratch", torch.ones(1), persistent=True)
            self.none: None = None

    for kind in (_DenseLayer, DenseNet):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    parent = types.ModuleType("torchxrayvision")
    parent.models = module  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchxrayvision", parent)
        patch.setitem(sys.modules, "torchxrayvision.models", module)
        yield module


class Run:
    """A pickle that creates a file when it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.path}",))


def written(tmp_path: Path, content: object, zipped: bool = True) -> Path:
    path = tmp_path / "model.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_module_gives_its_state_dict(tmp_path, library, zipped):
    network = library.DenseNet()
    path = written(tmp_path, network, zipped)
    assert "torchxrayvision.models.DenseNet" in requested_globals(path)
    loaded = load_checkpoint(path, NAMES)
    expected = network.state_dict()
    assert set(loaded) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(torch.nan_to_num(loaded[name]), torch.nan_to_num(tensor)), name
    assert not any(isinstance(value, nn.Parameter) for value in loaded.values())


def test_the_class_is_never_imported(tmp_path, library, monkeypatch):
    path = written(tmp_path, library.DenseNet())
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", None)  # an import would raise
    assert "classifier.weight" in load_checkpoint(path, NAMES)


@pytest.mark.parametrize("allowed", [(), NAMES[1:], tuple(name for name in NAMES if "AvgPool" not in name)])
def test_a_class_that_the_card_does_not_name_is_refused(tmp_path, library, allowed):
    with pytest.raises(WeightsError) as error:
        load_checkpoint(written(tmp_path, library.DenseNet()), allowed)
    assert "refused" in str(error.value) or "more than tensors" in str(error.value)
    if "torchxrayvision.models.DenseNet" not in allowed:
        assert "torchxrayvision.models.DenseNet" in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_module_with_a_command_inside_is_refused_and_does_not_run(tmp_path, library, zipped):
    network = library.DenseNet()
    network.hook = Run(tmp_path / "was-run")
    with pytest.raises(WeightsError, match="system"):
        load_checkpoint(written(tmp_path, network, zipped), NAMES)
    assert not (tmp_path / "was-run").exists()


def test_a_card_cannot_ask_for_a_stand_in_of_anything_else(tmp_path):
    mark = tmp_path / "was-run"
    path = written(tmp_path, {"w": torch.ones(1), "x": Run(mark)})
    name = f"{os.system.__module__}.system"
    assert not may_be_inert(name)
    with pytest.raises(WeightsError, match="system"):
        load_checkpoint(path, (name,))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch.load", "torchvision.io.read_file", "__main__.Other", "torch.nn.Module"])  # fmt: skip
def test_names_that_never_get_a_stand_in(name):
    assert not may_be_inert(name)


def test_pickled_settings_of_bpdneo(tmp_path, monkeypatch):
    @dataclasses.dataclass
    class ModelConfig:
        name: str
        epochs: int = 20

    ModelConfig.__module__, ModelConfig.__qualname__ = "__main__", "ModelConfig"
    monkeypatch.setattr(sys.modules["__main__"], "ModelConfig", ModelConfig, raising=False)
    state = {"inner_model.conv1.weight": torch.arange(3.0)}
    path = written(tmp_path, {"config": ModelConfig("best"), "model_state_dict": state, "auroc": 0.78})
    monkeypatch.delattr(sys.modules["__main__"], "ModelConfig")
    with pytest.raises(WeightsError, match=r"__main__\.ModelConfig"):
        load_checkpoint(path)
    loaded = load_checkpoint(path, CONFIG)
    assert torch.equal(loaded["model_state_dict"]["inner_model.conv1.weight"], torch.arange(3.0))
    assert isinstance(loaded["config"], Inert) and loaded["config"].name == "best"


def test_settings_that_call_something_are_refused(tmp_path):
    """The name of the settings with arguments, as a reduce: an empty class takes none."""
    body = b"\x80\x02c__main__\nModelConfig\nX\x01\x00\x00\x00a\x85R."
    path = tmp_path / "evil.pth"
    magic = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(magic) + body + pickle.dumps([], 2))
    with pytest.raises(WeightsError):
        load_checkpoint(path, CONFIG)


def test_damaged_networks():
    kind = stand_in("torch.nn.modules.linear.Linear")
    assert (kind.__module__, kind.__qualname__) == ("torch.nn.modules.linear", "Linear")
    empty = kind()
    with pytest.raises(WeightsError, match="Linear without tensors"):
        state_of(empty, "x")
    empty._modules = {"self": empty}
    with pytest.raises(WeightsError, match="hold each other"):
        state_of(empty, "x")
    empty._modules = [1]
    with pytest.raises(WeightsError, match="damaged"):
        state_of(empty, "x")

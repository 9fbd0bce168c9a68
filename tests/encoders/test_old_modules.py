"""The old file format of whole networks: source code is taken out, everything else stays."""

import io
import pickletools

import pytest
import torch
from torch import nn

from medfm.core.errors import WeightsError
from medfm.encoders.old_modules import without_sources
from medfm.encoders.safety import load_checkpoint

LAYERS = tuple(
    f"torch.nn.modules.{name}"
    for name in ("container.Sequential", "conv.Conv2d", "linear.Linear", "activation.ReLU", "linear.Identity")
)


def old(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def texts(stream: io.BytesIO) -> list[str]:
    found = []
    for _ in range(4):
        found += [str(argument) for _, argument, _ in pickletools.genops(stream) if isinstance(argument, str)]
    return found


def network() -> nn.Module:
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(2, 2, 1), nn.Linear(3, 4)))
    # The same words as in the tuples that are taken out, once as a name and once as a value.
    made.module = "module"
    made.add_module("storage", nn.Identity())
    return made


def test_sources_are_gone_and_the_rest_is_read(tmp_path):
    path = old(tmp_path / "a.pt", network())
    before, after = texts(io.BytesIO(path.read_bytes())), texts(without_sources(path))
    assert any("def forward" in text for text in before) and not any("def forward" in text for text in after)
    assert "module" in after and "storage" in after
    expected = torch.load(path, weights_only=False).state_dict()
    loaded = load_checkpoint(path, LAYERS)
    assert list(loaded) == list(expected) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "2.1.weight", "2.1.bias"]
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_file_without_networks_stays_as_it_is(tmp_path):
    path = old(tmp_path / "a.pt", {"w": torch.arange(3.0), "module": ["module", "storage"], "n": 3})
    assert without_sources(path).getvalue() == path.read_bytes()


def test_a_tensor_shared_by_two_layers_is_read_twice(tmp_path):
    made = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    made[1].weight = made[0].weight
    loaded = load_checkpoint(old(tmp_path / "a.pt", made), LAYERS)
    assert torch.equal(loaded["0.weight"], loaded["1.weight"])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_half_a_file_is_damaged(tmp_path, share):
    path = old(tmp_path / "a.pt", network())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"damaged|half downloaded|more than tensors|refused"):
        load_checkpoint(path, LAYERS)

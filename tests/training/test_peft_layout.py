"""Updates of low rank in PEFT's layout: a golden that PEFT 0.21.2 wrote, round trips, and what is refused."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from medfm.core.errors import WeightsError
from medfm.encoders.encoder import Encoder
from medfm.encoders.load import load_encoder
from medfm.training.finetune import FineTuned, fit
from medfm.training.finetune_batches import Labelled
from medfm.training.layer_groups import layer_groups, unused_by
from medfm.training.lora import add_lora, lora_targets, merge_lora
from medfm.training.peft_layout import (
    CONFIG,
    WEIGHTS,
    Adapter,
    merge_adapter,
    save_adapter,
    take_adapter,
    with_adapter,
)
from medfm.workflows.finetune import _adapter_note
from tests.tiny_volume_cards import small_volume_encoder
from tests.training.peft_network import Small, given
from tests.training.small_networks import Transformer
from tests.training.tuning_parts import BINARY, data, recipe, signal_encoder

GOLDEN = Path(__file__).resolve().parents[1] / "parity" / "peft-lora"
TARGETS = ["linear.weight", "one.kernel.weight", "two.weight", "three.weight", "attn.in_proj_weight"]
OUTPUTS = json.loads((GOLDEN / "expected.json").read_text())["outputs"]
LORA = {"name": "tune", "epochs": 1, "layers": {"kind": "lora", "rank": 2, "lr": 1e-2}}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def with_updates(network: nn.Module, names: list[str], rank: int = 2, alpha: float = 6.0) -> nn.Module:
    """A copy of `network` with updates that are not nought."""
    grown = copy.deepcopy(network)
    add_lora(grown, names, rank, alpha, seeded())
    with torch.no_grad():
        for name, parameter in grown.named_parameters():
            if name.endswith(".0.b"):
                parameter.normal_(std=0.3, generator=seeded())
    return grown


def taken(grown: nn.Module, network: nn.Module) -> Adapter:
    found = take_adapter(grown, network)
    assert isinstance(found, Adapter), found
    return found


def test_an_adapter_of_peft_gives_pefts_outputs() -> None:
    network = Small().eval()
    before = {k: v.detach().clone() for k, v in network(given()).items()}
    merge_adapter(network, GOLDEN)
    for layer, values in network(given()).items():
        assert values.flatten().tolist() == pytest.approx(OUTPUTS[layer], abs=1e-5), layer
        assert torch.equal(values, before[layer]) == (layer == "kernel")


def test_the_same_updates_are_written_as_peft_wrote_them(tmp_path: Path) -> None:
    """The golden's factors as plain matrices become the same tensors and settings."""
    theirs = load_file(GOLDEN / WEIGHTS)
    network = Small()
    factors = {}
    for name in TARGETS:
        keys = [f"base_model.model.{name.rpartition('.')[0]}.lora_{factor}.weight" for factor in "AB"]
        factors[name] = (theirs[keys[0]].flatten(1), theirs[keys[1]].flatten(1))
    adapter = Adapter(factors, 3, 7.0)
    save_adapter(tmp_path, adapter, network, "small")
    written = load_file(tmp_path / WEIGHTS)
    assert written.keys() == theirs.keys()
    zeros = [k for k in theirs if "out_proj.lora_A" in k]
    assert len(zeros) == 1 and all(torch.equal(written[k], theirs[k]) for k in theirs if k not in zeros)
    config, known = (json.loads((folder / CONFIG).read_text()) for folder in (tmp_path, GOLDEN))
    assert config.keys() <= known.keys()
    same = set(config) - {"base_model_name_or_path", "target_modules"}
    assert {k: config[k] for k in same} == {k: known[k] for k in same}
    assert [n for n, _ in network.named_modules() if n and re.fullmatch(config["target_modules"], n)] == [
        "linear", "one.kernel", "two", "three", "attn"
    ]  # fmt: skip


def test_weights_are_the_same_after_writing_reading_and_merging(tmp_path: Path) -> None:
    network = Small()
    grown = with_updates(network, TARGETS, rank=8, alpha=16.0)  # cut down to the size of smaller matrices
    adapter = taken(grown, network)
    assert adapter.rank == 4 and adapter.alpha == 8.0  # of the 5 x 4 matrix; alpha / rank stays 2
    save_adapter(tmp_path, adapter, network, "small")
    merge_lora(grown)
    merge_adapter(network, tmp_path)
    expected = grown.state_dict()
    assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["flair-tiny", "swinunetr-encoder"])
def test_encoders_of_pictures_and_volumes_take_their_adapter(name: str, tmp_path: Path) -> None:
    volumes = name == "swinunetr-encoder"
    encoder = small_volume_encoder(name) if volumes else load_encoder(name, weights="random", device="cpu")
    network = encoder.module
    names = [p for g in layer_groups(network, unused_by(network, encoder.card)) for p in g.parameters]
    grown = with_updates(network, lora_targets(network, names, "auto"))
    save_adapter(tmp_path, taken(grown, network), network, encoder.id)
    merge_lora(grown)
    before = encoder.fingerprint
    found = with_adapter(encoder, tmp_path)
    assert encoder.fingerprint == before and "updates of low rank" in found.weights_note
    expected = grown.state_dict()
    assert all(torch.allclose(v, expected[k], atol=1e-6) for k, v in found.module.state_dict().items())
    assert any(not torch.equal(v, network.state_dict()[k]) for k, v in found.module.state_dict().items())


class Odd(nn.Module):
    """Layers that PEFT has no right update for."""

    def __init__(self) -> None:
        super().__init__()
        self.dilated = nn.Conv3d(1, 2, 3, dilation=2)
        self.grouped = nn.Conv1d(2, 2, 3, groups=2)
        self.circular = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
        self.attn = nn.MultiheadAttention(4, 2)
        self.table = nn.Embedding(3, 4)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dilated.weight", "dilated or grouped"), ("grouped.weight", "dilated or grouped"),
        ("circular.weight", "dilated or grouped"), ("attn.out_proj.weight", "twice"), ("table.weight", "no update for"),
    ],
)  # fmt: skip
def test_what_peft_would_compute_otherwise_is_not_given_away(name: str, why: str) -> None:
    network = Odd()
    said = take_adapter(with_updates(network, [name]), network)
    assert isinstance(said, str) and why in said


def test_updates_on_other_weights_or_without_any_are_not_given_away() -> None:
    network = Transformer(1)
    assert take_adapter(network, network) == "there are no updates of low rank"
    grown = with_updates(network, ["blocks.0.attn.qkv.weight"])
    with torch.no_grad():
        grown.norm.bias.add_(1)  # type: ignore[union-attr, operator]
    assert "earlier stage" in str(take_adapter(grown, network))


def edited(folder: Path, **changes: Any) -> Path:
    """A copy of the golden with other settings."""
    shutil.copytree(GOLDEN, folder)
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))
    return folder


def refused(folder: Path, network: nn.Module | None = None) -> str:
    """The error; the network stays as it was."""
    network = Small() if network is None else network
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(WeightsError) as found:
        merge_adapter(network, folder)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    return str(found.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"}, {"use_dora": True}, {"rank_pattern": {"linear": 1}}, {"alpha_pattern": {"two": 1}},
        {"bias": "all"}, {"r": 0}, {"r": "many"}, {"modules_to_save": ["kernel"]}, {"lora_alpha": None},
    ],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_what_is_not_plain_lora_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    assert "cannot be read" in refused(edited(tmp_path / "a", **changes))


def test_rank_stabilised_updates_have_their_own_scale(tmp_path: Path) -> None:
    plain, other = Small(), Small()
    start = plain.linear.weight.detach().clone()
    merge_adapter(plain, GOLDEN)
    merge_adapter(other, edited(tmp_path / "a", use_rslora=True))
    ratio = (other.linear.weight - start) / (plain.linear.weight - start)
    assert torch.allclose(ratio, torch.full_like(ratio, 3**0.5), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update({"base_model.model.nowhere.lora_A.weight": torch.ones(3, 4)}), "no layer 'nowhere'"),
        (lambda t: t.pop("base_model.model.linear.lora_B.weight"), "both factors"),
        (lambda t: t.update({"base_model.model.linear.lora_B.weight": torch.ones(4, 3)}), "(4, 3)"),
        (lambda t: t.update({"base_model.model.linear.lora_B.weight": torch.ones(5, 2)}), "(5, 2)"),
        (lambda t: t["base_model.model.linear.lora_A.weight"].fill_(float("nan")), "not finite"),
        (lambda t: t.update({"something": torch.ones(1)}), "'something'"),
        (lambda t: t["base_model.model.attn.base_layer.out_proj.lora_B.weight"].fill_(1.0), "twice"),
    ],
    ids=["unknown layer", "one factor", "rows", "rank", "not finite", "foreign tensor", "last projection"],
)
def test_tensors_that_do_not_fit_change_nothing(change: Any, said: str, tmp_path: Path) -> None:
    folder = edited(tmp_path / "a")
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    assert said in refused(folder)


def test_files_that_are_missing_or_damaged_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)
    (edited(tmp_path / "a") / WEIGHTS).write_bytes(b"PK")
    assert "cannot be read" in refused(tmp_path / "a")
    (edited(tmp_path / "b") / CONFIG).write_text("[]")
    assert "cannot be read" in refused(tmp_path / "b")
    assert "does not fit" in refused(GOLDEN, Transformer(1))


def tuned(encoder: Encoder, held: Labelled, **changes: Any) -> FineTuned:
    return fit(encoder, recipe({**LORA, **changes}, augmentation="none"), held, held, BINARY)


def test_a_run_hands_over_its_updates_before_they_are_merged(tmp_path: Path) -> None:
    encoder = small_volume_encoder("swinunetr-encoder")
    held = Labelled(torch.rand(4, 1, 32, 32, 32, generator=seeded()), torch.arange(4) % 2.0)
    found = tuned(encoder, held)
    assert isinstance(found.adapter, Adapter) and found.adapter.rank == 2 and found.adapter.alpha == 16
    save_adapter(tmp_path, found.adapter, found.model.network, encoder.id)
    other = with_adapter(encoder, tmp_path).module.state_dict()
    assert all(torch.allclose(v, other[k], atol=1e-6) for k, v in found.model.network.state_dict().items())
    assert "model/adapter" in _adapter_note(found)[0]


def test_a_run_without_them_or_that_peft_would_read_otherwise_says_so() -> None:
    whole = fit(signal_encoder(), recipe(augmentation="none"), data(4), data(4), BINARY)
    assert whole.adapter is None and _adapter_note(whole) == []
    pooled = tuned(signal_encoder(), data(4))  # its pooling head is an nn.MultiheadAttention
    assert isinstance(pooled.adapter, str) and "twice" in _adapter_note(pooled)[0]

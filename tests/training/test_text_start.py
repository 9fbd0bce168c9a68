"""Starting the text tower from a published BERT in a folder, in the weights folder, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pair_parts import TEXT, network
from safetensors.torch import save_file

from medfm.core.errors import WeightsError
from medfm.encoders.card_schema import TextSpec
from medfm.encoders.merl_args import BertArgs
from medfm.encoders.weights import weights_folder
from medfm.training.text_start import find_bert, start_text

SPEC = TextSpec(tower="BERT", tokenizer="someone/some-bert", max_tokens=16)
ARGS = BertArgs(**TEXT)


def bert_folder(
    folder: Path, *, kind: str = "model.safetensors", prefix: str = "", seed: int = 7, **sizes: int
) -> Path:
    """A BERT as the hub has it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {prefix + k: v.clone() for k, v in network(seed).lm_model.state_dict().items()}
    state[f"{prefix}embeddings.position_ids"] = torch.arange(24)[None]
    state["cls.predictions.bias"] = torch.zeros(40)
    if kind.endswith("safetensors"):
        save_file({k: v.contiguous() for k, v in state.items()}, folder / kind)
    else:
        torch.save(state, folder / kind)
    config = {
        "vocab_size": 40,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 24,
    }
    (folder / "config.json").write_text(json.dumps(config | sizes))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n")
    return folder


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_tower_becomes_the_published_one(tmp_path: Path, kind: str, prefix: str) -> None:
    folder = bert_folder(tmp_path / "bert", kind=kind, prefix=prefix)
    tower, wanted = network(0).lm_model, network(7).lm_model.state_dict()
    start_text(tower, ARGS, find_bert(SPEC, str(folder)))
    assert all(torch.equal(tower.state_dict()[k], wanted[k]) for k in wanted)
    assert all(p.requires_grad for p in tower.parameters())


def test_the_weights_folder_is_looked_into(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not on this machine") as caught:
        find_bert(SPEC)
    for word in ("someone--some-bert", "text.weights=FOLDER", "text.start=random"):
        assert word in str(caught.value)
    bert_folder(weights_folder() / "someone--some-bert")
    assert find_bert(SPEC).name == "model.safetensors"
    with pytest.raises(WeightsError, match="not on this machine"):
        find_bert(SPEC, str(tmp_path / "elsewhere"))


def test_a_card_without_repository_needs_a_folder(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"tokenizer": None})
    with pytest.raises(WeightsError, match="no repository"):
        find_bert(spec)
    assert find_bert(spec, str(bert_folder(tmp_path / "bert"))).is_file()


def test_another_size_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert", num_hidden_layers=12)
    with pytest.raises(WeightsError, match="layers 12 there, 2 in the card"):
        start_text(network().lm_model, ARGS, find_bert(SPEC, str(folder)))


def test_missing_and_left_over_tensors(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    state = {k: v.contiguous() for k, v in network(7).lm_model.state_dict().items()}
    del state["pooler.dense.bias"]
    state["adapter.weight"] = torch.zeros(2)
    state["pooler.dense.weight"] = torch.zeros(3, 3)
    save_file(state, folder / "model.safetensors")
    tower = network(0).lm_model
    before = {k: v.clone() for k, v in tower.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        start_text(tower, ARGS, folder / "model.safetensors")
    for words in ("1 missing, such as pooler.dense.bias", "1 left over, such as adapter.weight", "1 of another shape"):
        assert words in str(caught.value)
    assert all(torch.equal(before[k], v) for k, v in tower.state_dict().items())


def test_a_broken_config(tmp_path: Path) -> None:
    folder = bert_folder(tmp_path / "bert")
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json"):
        start_text(network().lm_model, ARGS, folder / "model.safetensors")

"""A language model from a folder: greedy, offline, without foreign code or pickles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_knowledge import shapes

from medfm.core.errors import ConfigError, WeightsError
from medfm.knowledge.ckepe import generate, load_frozen
from medfm.knowledge.local_provider import LocalModel

WORDS = ["[PAD]", "[UNK]", "[END]", "circle", "square", "no", "corners", ",", "constant", "radius", "list", "a"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of a few thousand random numbers and a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-lm"
    words = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", eos_token="[END]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=2
    )
    model = GPT2LMHeadModel(config)
    model.generation_config.do_sample = True  # the folder asks for sampling; it does not get it
    model.generation_config.temperature = 5.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(made, tmp_path / "tiny-lm"))


def test_the_same_answer_every_time_word_by_word_the_likeliest(made: Path) -> None:
    import torch

    first = LocalModel(made, max_new_tokens=8)
    answer = first("list a circle")
    assert [LocalModel(made, max_new_tokens=8)("list a circle") for _ in range(3)] == [answer] * 3
    assert first("list a circle") == answer
    tokenizer, model = first._loaded
    ids = tokenizer("list a circle", return_tensors="pt")["input_ids"]
    for _ in range(8):
        with torch.inference_mode():
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        if ids[0, -1] == tokenizer.eos_token_id:
            break
    assert answer == tokenizer.decode(ids[0, 3:], skip_special_tokens=True).strip()
    assert 0 < len(answer.split()) <= 8


def test_it_serves_the_procedure_and_names_itself(made: Path, tmp_path: Path) -> None:
    provider = LocalModel(made, max_new_tokens=8)
    assert provider.identity.startswith("tiny-lm sha256:") and str(made.parent) not in provider.identity
    frozen = generate(shapes(), "coarse", provider, name=provider.identity)
    frozen.save(tmp_path / "ckepe.yaml")
    again = load_frozen(tmp_path / "ckepe.yaml")
    assert again == frozen == generate(shapes(), "coarse", LocalModel(made, 8), name=provider.identity)
    assert again.prompts().labels == ("R", "S")


def test_the_identity_follows_the_files(folder: Path) -> None:
    before = LocalModel(folder).identity
    assert LocalModel(folder, max_new_tokens=9).identity != before
    (folder / "generation_config.json").write_text("{}", encoding="utf-8")
    assert LocalModel(folder).identity != before


def test_a_chat_template_is_used(folder: Path) -> None:
    plain = LocalModel(folder, 4)
    expected = plain("circle , no corners")
    assert expected != plain("circle")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }} , no corners", encoding="utf-8")
    assert LocalModel(folder, 4)("circle") == expected


def test_code_of_the_folder_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "evil.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(WeightsError, match="code of its own"):
        LocalModel(folder)


def test_pickles_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="holds no weights"):
        LocalModel(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="pickled"):
        LocalModel(folder)


@pytest.mark.parametrize("damage", ["weights", "config", "kind", "tokenizer"])
def test_damage_is_an_error_of_ours(folder: Path, damage: str) -> None:
    if damage == "weights":
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    elif damage == "config":
        (folder / "config.json").write_text("[", encoding="utf-8")
    elif damage == "kind":
        (folder / "config.json").write_text('{"model_type": "nothing-known"}', encoding="utf-8")
    else:
        (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError):
        LocalModel(folder)("circle")


def test_bad_requests(made: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no config\.json"):
        LocalModel(tmp_path)
    with pytest.raises(WeightsError, match=r"no config\.json"):
        LocalModel(tmp_path / "absent")
    with pytest.raises(ConfigError, match="max_new_tokens"):
        LocalModel(made, 0)
    with pytest.raises(ConfigError, match="has room"):
        LocalModel(made, 60)("circle " * 10)
    with pytest.raises(ConfigError, match="question is empty"):
        LocalModel(made, 4)("")
    with pytest.raises(ConfigError, match="characters"):
        LocalModel(made, 4)("a" * 30_000)

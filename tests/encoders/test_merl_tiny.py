"""The card merl-tiny, and saving a MERL network with its text tower."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import medfm
from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders import build, save_encoder
from medfm.encoders.card_schema import TextSpec
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.registry import get_card
from medfm.encoders.tokens import TextTokenizer
from medfm.training.vocabulary import build_vocabulary

WORDS = {"encoder_id": "mini-trained", "title": "Mini, trained", "summary": "s", "prose": "# Trained\n\ntext\n"}
VOCABULARY = "\n".join(build_vocabulary(["sinus rhythm"] * 2, 1024)).encode() + b"\n"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save_encoder(folder, build("merl-tiny", seed=5), "merl-tiny", tokenizer={"vocab.txt": VOCABULARY}, **WORDS)
    return folder


def test_the_card() -> None:
    card = get_card("merl-tiny")
    assert card.path.stem == card.id
    assert Preprocessing(card.spec.preprocessing).shape == card.spec.input.shape == (12, 1000)
    assert card.spec.weights.sources == () and card.spec.results == ()
    assert card.spec.text is not None and card.spec.text.tokenizer is None
    for heading in ("What it is", "What it is not for", "How to use it here", "Known traps", "What is not verified"):
        assert f"## {heading}" in card.prose
    # The leads are those of MERL, in MERL's order.
    assert card.spec.preprocessing[-1] == get_card("merl-resnet18").spec.preprocessing[-1]
    parameters = sum(p.numel() for p in build(card).parameters())
    assert 200_000 < parameters < 1_000_000


def test_without_training_there_are_no_texts() -> None:
    encoder = medfm.load_encoder("merl-tiny", weights="random")
    assert encoder(torch.rand(2, 12, 1000)).shape == (2, 64)
    with pytest.raises(WeightsError, match="no tokenizer yet") as caught:
        encoder.encode_text(["sinus rhythm"])
    assert "medfm pretrain" in str(caught.value)


def test_round_trip_with_texts(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == ["card.md", "encoder.safetensors", "tokenizer"]
    encoder = medfm.load_encoder(saved)
    assert encoder.weights_kind == "trained here"
    assert encoder.fingerprint == medfm.load_encoder("merl-tiny", weights="random", seed=5).fingerprint
    wanted = build("merl-tiny", seed=5).state_dict()
    found = encoder.module.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[k], found[k]) for k in wanted)
    one, two = encoder.encode_text(["sinus rhythm", "rhythm"])
    assert not torch.equal(one, two)
    (source,) = encoder.card.spec.weights.sources
    assert "merl names" in source.layout


def test_the_folder_may_move(saved: Path, tmp_path: Path) -> None:
    before = medfm.load_encoder(saved).encode_text(["sinus rhythm"])
    saved.rename(tmp_path / "elsewhere")
    assert torch.equal(medfm.load_encoder(tmp_path / "elsewhere").encode_text(["sinus rhythm"]), before)


def test_a_network_of_another_family_or_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not of the"):
        save_encoder(tmp_path / "a", build("dinov2-tiny"), "merl-tiny", **WORDS)
    with pytest.raises(ConfigError, match="not of the"):
        save_encoder(tmp_path / "b", torch.nn.Linear(2, 2), "merl-tiny", **WORDS)
    card = get_card("merl-tiny")
    from medfm.encoders.merl import build_merl

    wide = build_merl({**card.spec.architecture.args, "projection": 32})
    with pytest.raises(ConfigError, match="architecture of the card"):
        save_encoder(tmp_path / "c", wide, card, **WORDS)
    assert not list(tmp_path.glob("*/card.md"))


def test_the_tokenizer_beside_the_card_comes_first(tmp_path: Path) -> None:
    from medfm.encoders.weights import weights_folder

    spec = TextSpec(tower="t", tokenizer="someone/some-bert", max_tokens=16)
    for folder, word in ((tmp_path / "card", "sinus"), (weights_folder() / "mini", "rhythm")):
        (folder / "tokenizer").mkdir(parents=True)
        pieces = build_vocabulary([word] * 2, 300)
        (folder / "tokenizer" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    assert TextTokenizer(spec, "mini", 300, tmp_path / "card").lengths(["sinus", "rhythm"]) == [3, 8]
    assert TextTokenizer(spec, "mini", 300).lengths(["sinus", "rhythm"]) == [7, 3]

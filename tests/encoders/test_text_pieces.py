"""What of a text reaches a tower: single texts through the tokenizer, and the card alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_merl_networks import plain_encoder, tiny_card  # noqa: F401
from test_merl_text import SPEC, put_vocabulary

from medfm.core.errors import CardError, OfflineError
from medfm.encoders.card import Card
from medfm.encoders.registry import get_card
from medfm.encoders.tokens import SingleTexts, TextTokenizer, tokenizer_of_card
from medfm.encoders.weights import weights_folder
from medfm.knowledge.encoded import encoded_texts

LONG = "sinus rhythm normal sinus rhythm normal"


@pytest.fixture
def tokenizer() -> TextTokenizer:
    made = TextTokenizer(SPEC, "mini", 40)
    put_vocabulary(made.folders()[0])
    return made


def test_ids_are_those_of_the_tower(tokenizer) -> None:
    single = SingleTexts(tokenizer)
    for text in ("Sinus RHYTHM", "atrial fibrillation", LONG, ""):
        ids, mask = tokenizer.encode([text])
        assert single.encode(text, truncation=True, max_length=6) == ids[0][: int(mask.sum())].tolist()
        assert len(single.encode(text)) == tokenizer.lengths([text])[0]
    assert single.max_tokens == 6


def test_texts_as_the_tower_reads_them(tokenizer) -> None:
    short, cut, unknown = encoded_texts(["Atrial Fibrillation", LONG, "tachycardia"], SingleTexts(tokenizer), 6)
    assert (short.tokens, short.kept, short.truncated) == (6, 6, False)
    assert short.encoded.replace(" ", "") == "atrialfibrillation"
    assert (cut.tokens, cut.kept, cut.truncated) == (8, 6, True)
    assert cut.encoded == "sinus rhythm normal sinus"
    assert unknown.tokens == 3 and "tachycardia" not in unknown.encoded


def test_an_encoder_shows_its_own(tiny_card: Card) -> None:  # noqa: F811
    put_vocabulary(weights_folder() / tiny_card.id / "tokenizer")
    encoder = plain_encoder(tiny_card)
    assert encoder.text_tokenizer.encode("sinus rhythm") == [2, 5, 6, 3]
    assert encoder.text_tokenizer.max_tokens == tiny_card.spec.text.max_tokens


def test_without_a_vocabulary_or_a_tower(tiny_card: Card) -> None:  # noqa: F811
    with pytest.raises(OfflineError, match="not on this machine"):
        plain_encoder(tiny_card).text_tokenizer.encode("sinus")
    assert tokenizer_of_card(get_card("dinobloom-s")) is None
    assert tokenizer_of_card(get_card("merl-resnet18-pooled")) is None


def test_the_card_alone_counts_tokens(tiny_card: Card) -> None:  # noqa: F811
    tokenizer = tokenizer_of_card(tiny_card)
    assert tokenizer is not None and not tokenizer.present
    assert "vocab.txt" in tokenizer.wanted and str(Path(tiny_card.id) / "tokenizer") in tokenizer.wanted
    put_vocabulary(tokenizer.folders()[1])
    assert tokenizer.present and tokenizer.lengths(["sinus rhythm"]) == [4]


def test_a_pooled_encoder_has_no_pieces() -> None:
    import medfm

    with pytest.raises(CardError, match="no text tower"):
        _ = medfm.load_encoder("merl-vit-tiny-pooled", weights="random", device="cpu").text_tokenizer

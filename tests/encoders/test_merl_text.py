"""Text towers: tokenizer from a local folder, pooler output, limits, and clear errors."""

from pathlib import Path

import pytest
import torch
from test_merl_networks import TINY_TEXT, plain_encoder, tiny_card, tiny_state, without_text  # noqa: F401

from medfm.core.errors import CardError, ConfigError, OfflineError, WeightsError
from medfm.encoders.bert_tower import build_bert, real_buffers
from medfm.encoders.card import Card
from medfm.encoders.card_schema import TextSpec
from medfm.encoders.encoder import Encoder
from medfm.encoders.merl_args import BertArgs
from medfm.encoders.tokens import TextTokenizer
from medfm.encoders.weights import weights_folder

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "sinus",
    "rhythm",
    "atrial",
    "fib",
    "##rill",
    "##ation",
    "normal",
]
SPEC = TextSpec(tower="tiny", tokenizer="someone/some-bert", max_tokens=6)


def put_vocabulary(folder: Path, words: list[str] = WORDS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return folder / "vocab.txt"


@pytest.fixture
def tokenizer() -> TextTokenizer:
    made = TextTokenizer(SPEC, "mini", 40)
    put_vocabulary(made.folders()[0])
    return made


@pytest.fixture
def encoder(tiny_card: Card) -> Encoder:  # noqa: F811
    put_vocabulary(weights_folder() / tiny_card.id / "tokenizer")
    return plain_encoder(tiny_card)


def test_word_pieces(tokenizer):
    ids, mask = tokenizer.encode(["Sinus RHYTHM", "atrial fibrillation"])
    assert ids.tolist() == [[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]]
    assert mask.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert ids.dtype == mask.dtype == torch.int64


def test_long_texts_are_cut_off_and_end_properly(tokenizer):
    text = "sinus rhythm normal sinus rhythm normal"
    ids, mask = tokenizer.encode([text])
    assert ids.tolist() == [[2, 5, 6, 11, 5, 3]] and mask.sum() == 6
    assert tokenizer.lengths([text, "sinus", ""]) == [8, 3, 2]


def test_unknown_words_and_empty_texts(tokenizer):
    ids, _ = tokenizer.encode(["", "tachycardia"])
    assert ids.tolist() == [[2, 3, 0], [2, 1, 3]]


def test_case_is_kept_where_the_card_says_so():
    made = TextTokenizer(SPEC.model_copy(update={"lower_case": False}), "mini", 40)
    put_vocabulary(made.folders()[0])
    assert made.encode(["Sinus sinus"])[0].tolist() == [[2, 1, 5, 3]]


def test_the_second_folder_and_the_other_file(tokenizer):
    from tokenizers import BertWordPieceTokenizer

    built = BertWordPieceTokenizer(str(tokenizer.folders()[0] / "vocab.txt"), lowercase=True)
    built.enable_truncation(3)
    built.enable_padding(length=9)
    other = TextTokenizer(SPEC, "another-encoder", 40)
    shared = other.folders()[1]
    assert shared.name == "someone--some-bert"
    shared.mkdir(parents=True)
    built.save(str(shared / "tokenizer.json"))
    texts = ["Sinus rhythm", "normal sinus rhythm atrial"]
    assert other.encode(texts)[0].tolist() == tokenizer.encode(texts)[0].tolist()
    assert other.lengths(texts) == [4, 6]


def test_an_absent_tokenizer_says_what_to_put_where(offline):
    made = TextTokenizer(SPEC, "mini", 40)
    with pytest.raises(OfflineError) as error:
        made.encode(["sinus rhythm"])
    message = str(error.value)
    for part in ("vocab.txt", "someone/some-bert", str(made.folders()[0]), "MEDFM_OFFLINE"):
        assert part in message


def test_a_vocabulary_of_another_model_is_refused():
    made = TextTokenizer(SPEC, "mini", 5)
    put_vocabulary(made.folders()[0])
    with pytest.raises(WeightsError, match="12 word pieces"):
        made.encode(["sinus"])
    made = TextTokenizer(SPEC, "mini", 40)
    put_vocabulary(made.folders()[0], [word for word in WORDS if word != "[SEP]"])
    with pytest.raises(WeightsError):
        made.encode(["sinus"])


def test_a_damaged_tokenizer_is_an_error_of_ours():
    made = TextTokenizer(SPEC, "mini", 40)
    made.folders()[0].mkdir(parents=True)
    (made.folders()[0] / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="cannot be read"):
        made.encode(["sinus"])


@pytest.mark.parametrize("bad", ["sinus rhythm", [1, 2], [None]])
def test_only_lists_of_texts(tokenizer, encoder, bad):
    with pytest.raises(ConfigError, match=r"list|One text"):
        tokenizer.encode(bad)
    with pytest.raises(ConfigError, match=r"list|One text"):
        encoder.encode_text(bad)


def test_text_embeddings(encoder):
    texts = ["sinus rhythm", "atrial fibrillation", "normal"]
    vectors = encoder.encode_text(texts)
    assert vectors.shape == (3, 8) and vectors.dtype == torch.float32 and vectors.is_inference()
    assert float((vectors[0] - vectors[1]).abs().max()) > 1e-5
    assert torch.equal(vectors, encoder.encode_text(texts))
    assert encoder.encode_text([]).shape == (0, 8)
    assert torch.equal(encoder.encode_text(["SINUS Rhythm"]), encoder.encode_text(["sinus rhythm"]))
    assert encoder.text_lengths(texts) == [4, 6, 3]


def test_padding_and_order_do_not_matter(encoder):
    texts = ["sinus", "atrial fibrillation normal sinus rhythm", "normal rhythm"]
    together = encoder.encode_text(texts)
    alone = torch.cat([encoder.encode_text([text]) for text in texts])
    assert torch.allclose(together, alone, atol=1e-6)
    many = encoder.encode_text(texts * 50)
    assert many.shape == (150, 8) and torch.allclose(many[:3], many[-3:], atol=1e-6)


def test_padding_to_256_as_published_gives_the_same(encoder):
    tower = encoder.module
    ids, mask = encoder._tokenizer.encode(["sinus rhythm"])
    wide = torch.nn.functional.pad(ids, (0, 20)), torch.nn.functional.pad(mask, (0, 20))
    with torch.inference_mode():
        assert torch.allclose(tower.text(ids, mask), tower.text(*wide), atol=1e-6)


def test_the_pooler_output_is_what_is_projected(encoder):
    ids, mask = encoder._tokenizer.encode(["atrial fibrillation"])
    bert = encoder.module.lm_model
    with torch.inference_mode():
        output = bert(input_ids=ids, attention_mask=mask)
        pooled = torch.tanh(bert.pooler.dense(output.last_hidden_state[:, 0]))
        assert torch.allclose(encoder.module.proj_t(pooled), encoder.encode_text(["atrial fibrillation"]), atol=1e-6)


def test_weights_of_the_tower_come_from_the_checkpoint(tiny_card, encoder):  # noqa: F811
    state = tiny_state()
    state["lm_model.pooler.dense.weight"] = -state["lm_model.pooler.dense.weight"]
    assert not torch.allclose(plain_encoder(tiny_card, state).encode_text(["sinus"]), encoder.encode_text(["sinus"]))


def test_the_error_without_a_tower_comes_before_any_file_is_looked_for(tiny_card, offline):  # noqa: F811
    with pytest.raises(CardError, match="no text tower"):
        plain_encoder(tiny_card, without_text(tiny_state())).encode_text(["sinus"])


def test_values_that_are_not_finite_are_not_silent(encoder):
    with torch.no_grad():
        encoder.module.proj_t[0].bias[0] = float("inf")
    with pytest.raises(Exception, match="not finite"):
        encoder.encode_text(["sinus"])


def test_buffers_are_real_after_meta():
    with torch.device("meta"):
        bert = build_bert(BertArgs(**TINY_TEXT))
    real_buffers(bert)
    assert bert.embeddings.position_ids.tolist() == [list(range(24))]
    assert not bert.embeddings.token_type_ids.any() and bert.embeddings.token_type_ids.device.type == "cpu"
    assert not any("position_ids" in key or "token_type_ids" in key for key in bert.state_dict())


def test_a_failed_download_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def no_connection(*arguments: object, **_: object) -> str:
        asked.append(str(arguments[0]))
        raise OSError("no connection")

    monkeypatch.delenv("MEDFM_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", no_connection)
    made = TextTokenizer(SPEC, "mini", 40, beside=Path("/shipped/cards"))
    for _ in range(3):
        with pytest.raises(WeightsError, match="no connection") as caught:
            made.encode(["sinus rhythm"])
        assert str(weights_folder() / "mini" / "tokenizer") in str(caught.value), "where the user puts it"
        assert "/shipped/cards" not in str(caught.value) and "by hand" in str(caught.value)
    assert asked == ["someone/some-bert"]

"""A text longer than a tower takes is told: by every card's tokenizer, by the encoder, by searches and measurements."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tiny_text_encoder import WORDS, put_cohort, put_tiny_encoder

import medfm
from medfm.encoders.registry import get_card
from medfm.encoders.tokens import tokenizer_of_card
from medfm.encoders.weights import weights_folder
from medfm.workflows.retrieve import retrieve_table
from medfm.workflows.search import Search, search_table

WITH_TEXT = [name for name in medfm.list_encoders() if get_card(name).spec.text is not None]
LONG = "sinus rhythm " * 200
RUN: dict[str, Any] = {"cohort": {"modality": "ecg"}, "weights": "random", "device": "cpu",
                       "embed_settings": {"workers": 0}}  # fmt: skip


@pytest.mark.parametrize("name", WITH_TEXT)
def test_every_tokenizer_counts_whole_texts_and_cuts_at_the_cards_limit(name: str) -> None:
    card = get_card(name)
    folder = weights_folder() / name / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    tokenizer = tokenizer_of_card(card)
    assert tokenizer is not None and card.spec.text is not None
    most = card.spec.text.max_tokens
    short, long = tokenizer.whole(["sinus", LONG])
    assert tokenizer.lengths(["sinus", LONG]) == [len(short), len(long)] == [3, 402]
    ids, mask = tokenizer.encode(["sinus", LONG])
    assert ids.shape[1] == min(most, 402) == int(mask[1].sum())
    assert int(ids[1, -1]) == long[-1]
    assert ids[1, :-1].tolist() == long[: ids.shape[1] - 1]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFM_CARDS", str(put_tiny_encoder(tmp_path / "cards")))
    return put_cohort(tmp_path / "ecg", ["sinus rhythm", "pacing", LONG, "atrial flutter"])


def test_the_encoder_warns(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = medfm.load_encoder("tiny-text", weights="random")
    with caplog.at_level(logging.WARNING):
        encoder.encode_text(["pacing", LONG])
    assert "1 of 2 texts are longer than 256 tokens (up to 402)" in caplog.text


def test_a_search_tells_it_also_when_the_vector_was_kept(table: Path) -> None:
    for _ in range(2):
        found = search_table(table, "tiny-text", query=LONG, **RUN)
        assert (found.tokens, found.kept) == (402, 256)
        assert found.cut == "The query has 402 tokens; the text tower takes 256, and the rest was not read."
        assert found.to_dict()["kept"] == 256
    short = search_table(table, "tiny-text", query="pacing", **RUN)
    assert (short.tokens, short.kept, short.cut) == (3, 3, None)
    like = search_table(table, "tiny-text", like=short.hits[0].record_id, **RUN)
    assert (like.tokens, like.kept, like.cut) == (None, None, None)
    assert Search("q", (), 0).cut is None


def test_a_measurement_tells_how_many_texts_and_tokens_also_when_kept(table: Path) -> None:
    for _ in range(2):
        result = retrieve_table(table, "tiny-text", overrides=("statistics.resamples=20",), **RUN).result
        assert result.extras["texts"] == {"distinct": 4, "cut_off": 1, "max_tokens": 256, "tokens_not_read": 146}
        assert any("1 of 4 texts are longer than 256 tokens" in note for note in result.summary.notes)
        assert any("146 tokens were not read" in note for note in result.summary.notes)


def test_the_command_line_says_it(table: Path) -> None:
    from click.testing import CliRunner

    from medfm.cli.retrieve import command

    arguments = [str(table), "--modality", "ecg", "--encoder", "tiny-text", "--weights", "random"]
    done = CliRunner().invoke(command, [*arguments, "--query", LONG])
    assert done.exit_code == 0, done.output
    assert "the text tower takes 256, and the rest was not read" in done.output

"""What is read of long texts: the four ways against naive ones, their figures, and training with each."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_parts import held, network, recipe
from pydantic import ValidationError

from medfm.encoders.bert_tower import pooled_text
from medfm.encoders.registry import get_card
from medfm.encoders.tokens import tokenizer_of_card
from medfm.training.loop import make_fabric
from medfm.training.merl import MerlPairs
from medfm.training.paired_loop import train_pairs
from medfm.training.paired_validation import validation_losses
from medfm.training.pairs import Pairs, different, pair_batches
from medfm.training.pairs_config import TextRule
from medfm.training.text_window_rule import TextWindow
from medfm.training.text_windows import (
    TextWindows,
    averaged,
    read_windows,
    sentences,
    text_windows,
)

KINDS = ["truncate", "random_window", "random_sentence", "sentences"]


class Words:
    """A token per word (2 opens, 3 closes), numbered from 5 in order of first sight, below 40."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        return [[2, *(5 + self.known.setdefault(w, len(self.known)) % 35 for w in text.split()), 3] for text in texts]


def report(words: int, start: int = 0) -> str:
    return " ".join(f"w{i}" for i in range(start, start + words))


def windows_of(texts: Sequence[str], limit: int, kind: str, most: int = 8) -> TextWindows:
    found, _ = text_windows(Words(), texts, limit, TextWindow(kind=kind, most=most))
    assert found is not None
    return found


def rows(ids: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    return [row[: int(n)].tolist() for row, n in zip(ids, mask.sum(dim=1), strict=True)]


class TestSentences:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
            ("lower case. also splits. ", ["lower case.", "also splits."]),
            ("Size 0.5 mm. Margin 2.5 cm.", ["Size 0.5 mm.", "Margin 2.5 cm."]),
            ("Growth of E. coli was seen. No other.", ["Growth of E. coli was seen.", "No other."]),
            ("Hepatitis C. No fibrosis.", ["Hepatitis C.", "No fibrosis."]),
            ("See Fig. 3 and e.g. this one. Next.", ["See Fig. 3 and e.g. this one.", "Next."]),
            ("First line\nsecond line\n\n third", ["First line", "second line", "third"]),
            ('He said "stop." Then left.', ['He said "stop."', "Then left."]),
            ("... --- ...", ["... --- ..."]),
            ("word", ["word"]),
            ("", [""]),
            ("A. -- . B2.", ["A.", "B2."]),
            ("Tumour: no. Margins free.", ["Tumour: no.", "Margins free."]),
        ],
    )
    def test_as_written(self, text: str, expected: list[str]) -> None:
        assert sentences(text) == expected

    @given(st.text(alphabet="ab1 .!?\n", max_size=60))
    def test_no_letter_is_lost_and_none_is_made(self, text: str) -> None:
        def letters(value: str) -> str:
            return "".join(sign for sign in value if sign.isalnum())

        parts = sentences(text)
        assert letters("".join(parts)) == letters(text)
        assert all(part == part.strip() for part in parts)
        assert len(parts) == 1 or all(letters(part) for part in parts)


class TestTruncate:
    def test_nothing_is_put_in_the_place_of_the_cut_ids_but_the_figures(self) -> None:
        texts = [report(4), report(20), report(12)]
        found, figures = text_windows(Words(), texts, 10, TextWindow())
        assert found is None
        assert (figures.texts, figures.long, figures.longest, figures.tokens) == (3, 2, 22, 36)
        assert figures.never_read == (20 - 8) + (12 - 8)
        assert figures.step_share == pytest.approx((4 + 8 + 8) / 36)
        assert "2 of 3 texts are longer than 10 tokens (up to 22)" in str(figures)
        assert "16 of 36 tokens (44.4 %) are never read" in str(figures)

    def test_no_long_text(self) -> None:
        _, figures = text_windows(Words(), ["a b", "c"], 77, TextWindow())
        assert figures.row() == {"text_texts": 2, "text_long": 0, "text_never_read": 0, "text_step_share": 1.0}

    @pytest.mark.parametrize("card", ["quiltnet-b-32"])
    def test_figures_are_those_of_the_real_tokenizer(self, card: str) -> None:
        tokenizer = tokenizer_of_card(get_card(card))
        assert tokenizer is not None
        texts = ["tumour " * n for n in (5, 75, 76, 200)]
        _, figures = text_windows(tokenizer, texts, 77, TextWindow())
        ids, mask = tokenizer.encode(texts)
        lengths = tokenizer.lengths(texts)
        assert figures.never_read == sum(lengths) - int(mask.sum())
        assert figures.long == sum(length > 77 for length in lengths)
        assert figures.longest == max(lengths)
        assert ids.shape[1] == 77


class TestRandomWindow:
    def test_a_window_is_a_stretch_of_the_text_between_the_special_tokens(self) -> None:
        found = windows_of([report(30), report(3, 30)], 10, "random_window")
        seen = set()
        for step in range(200):
            first, second = rows(*found.batch([0, 1], [0, 1], (1, step)))
            assert (first[0], first[-1], len(first)) == (2, 3, 10)
            assert first[1:-1] == list(range(first[1], first[1] + 8))
            assert second == [2, 35, 36, 37, 3]
            seen.add(first[1])
        assert seen == set(range(5, 5 + 30 - 8 + 1))  # every start comes up, the last one included

    def test_starts_are_uniform(self) -> None:
        found = windows_of([report(12)], 10, "random_window")
        counts = np.bincount([rows(*found.batch([0], [0], (0, s)))[0][1] - 5 for s in range(2000)], minlength=5)
        assert (np.abs(counts - 400) < 5 * np.sqrt(400)).all()

    def test_nothing_is_never_read(self) -> None:
        _, figures = text_windows(Words(), [report(30)], 10, TextWindow(kind="random_window"))
        assert (figures.never_read, figures.step_share) == (0, pytest.approx(8 / 30))


class TestRandomSentence:
    TEXT = "aa bb cc. dd ee. ff gg hh ii jj kk."

    def test_one_whole_sentence_each_as_often(self) -> None:
        found = windows_of([self.TEXT], 30, "random_sentence")
        drawn = [tuple(rows(*found.batch([0], [0], (0, step)))[0]) for step in range(900)]
        words = Words()
        words.whole([self.TEXT])
        expected = {tuple(row) for row in words.whole(["aa bb cc.", "dd ee.", "ff gg hh ii jj kk."])}
        assert set(drawn) == expected
        assert all(abs(drawn.count(one) - 300) < 5 * np.sqrt(300) for one in expected)

    def test_a_long_sentence_is_cut_and_counted(self) -> None:
        found, figures = text_windows(Words(), [self.TEXT], 6, TextWindow(kind="random_sentence"))
        assert found is not None
        assert max(len(rows(*found.batch([0], [0], (0, s)))[0]) for s in range(50)) == 6
        assert figures.never_read == 2
        assert figures.step_share == pytest.approx((3 + 2 + 4) / 3 / 11)

    def test_a_text_without_a_sentence_is_read_whole(self) -> None:
        found = windows_of(["no stop here"], 30, "random_sentence")
        assert len(rows(*found.batch([0], [0], (0, 7)))[0]) == 5


class TestSeveralWindows:
    def test_whole_sentences_are_packed_until_the_window_is_full(self) -> None:
        text = "aa bb cc. dd ee. ff gg hh. ii."
        found = windows_of([text, "short one."], 7, "sentences")
        ids, mask, owner = found.batch([0, 1], [0, 1])
        assert owner.tolist() == [0, 0, 1]
        words = Words()
        words.whole([text])
        assert rows(ids, mask)[:2] == [words.whole(["aa bb cc. dd ee."])[0], words.whole(["ff gg hh. ii."])[0]]

    def test_a_sentence_longer_than_the_window_is_continued(self) -> None:
        found = windows_of([report(12) + "."], 7, "sentences")
        ids, mask, owner = found.batch([0], [0])
        assert [len(row) - 2 for row in rows(ids, mask)] == [5, 5, 2]
        assert [t for row in rows(ids, mask) for t in row[1:-1]] == list(range(5, 17))
        assert owner.tolist() == [0, 0, 0]

    def test_beyond_the_most_windows_nothing_is_read_and_that_is_counted(self) -> None:
        found, figures = text_windows(Words(), [report(40)], 7, TextWindow(kind="sentences", most=3))
        assert found is not None
        assert len(found.batch([0], [0])[0]) == 3
        assert figures.never_read == 40 - 15
        assert figures.step_share == pytest.approx(15 / 40)

    def test_the_mean_of_windows_against_a_loop(self) -> None:
        vectors = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
        owner = torch.tensor([0, 0, 0, 1, 2, 2, 3])
        naive = torch.stack([vectors[owner == k].mean(dim=0) for k in range(4)])
        found = averaged(vectors, owner)
        assert torch.allclose(found, naive, atol=1e-7)
        weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
        expected = torch.autograd.grad((naive * weights).sum(), vectors, retain_graph=True)[0]
        assert torch.allclose(torch.autograd.grad((found * weights).sum(), vectors)[0], expected, atol=1e-7)

    def test_short_texts_are_read_as_without_windows(self) -> None:
        tower = network().lm_model.eval()
        read = partial(pooled_text, tower)
        found = windows_of(["a b c. d", "e f"], 20, "sentences")
        ids, mask, owner = found.batch([0, 1], [0, 1])
        assert torch.equal(read_windows(read, ids, mask, owner), read_windows(read, ids, mask))
        kept = torch.randn(2, 3)
        assert read_windows(read, kept) is kept


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=5),
    limit=st.integers(3, 12),
    kind=st.sampled_from(KINDS[1:]),
    most=st.integers(1, 5),
    step=st.integers(0, 1000),
)
def test_windows_fit_belong_to_their_text_and_repeat(
    lengths: list[list[int]], limit: int, kind: str, most: int, step: int
) -> None:
    texts = [
        " ".join(f"t{n}s{k}" + " x" * (size - 1) + "." for k, size in enumerate(own)) for n, own in enumerate(lengths)
    ]
    found, figures = text_windows(Words(), texts, limit, TextWindow(kind=kind, most=most))
    assert found is not None
    which = list(range(len(texts)))
    first = found.batch(which, which, (3, step))
    assert all(torch.equal(a, b) for a, b in zip(first, found.batch(which, which, (3, step)), strict=True))
    ids, mask = first[:2]
    assert ids.shape == mask.shape
    assert ids.shape[1] <= limit
    assert bool((ids[mask == 0] == 0).all())
    owner = first[2].tolist() if kind == "sentences" else which
    words = Words()
    bodies = [row[1:-1] for row in words.whole(texts)]
    for row, text in zip(rows(ids, mask), owner, strict=True):
        assert (row[0], row[-1]) == (2, 3)
        assert set(row[1:-1]) <= set(bodies[text])
    assert sorted(set(owner)) == which
    assert 0 <= figures.never_read <= figures.tokens
    assert 0 <= figures.step_share <= 1


def test_draws_depend_on_seed_step_and_record_and_not_on_the_batch() -> None:
    texts = [report(50, 50 * i) for i in range(3)]
    found = windows_of(texts, 8, "random_window")
    alone = [found.batch([i], [i], (0, 4))[0][0].tolist() for i in range(3)]
    together = found.batch([2, 0, 1], [2, 0, 1], (0, 4))[0].tolist()
    assert together == [alone[2], alone[0], alone[1]]
    assert len({tuple(found.batch([0], [0], (s, t))[0][0].tolist()) for s in range(5) for t in range(5)}) > 10
    assert torch.equal(found.batch([0], [0])[0], found.batch([0], [0])[0])


def long_pairs(kind: str, count: int = 12, most: int = 8) -> Pairs:
    """Records whose reports have one to five sentences of six words, read through a window of ten tokens."""
    reports = [". ".join(report(6, 6 * k + i) for k in range(1 + i % 5)) + "." for i in range(count)]
    texts, which = different(reports)
    words = Words()
    found, figures = text_windows(words, texts, 10, TextWindow(kind=kind, most=most))
    whole = [row[:9] + row[-1:] if len(row) > 10 else row for row in words.whole(texts)]
    ids = torch.tensor([row + [0] * (10 - len(row)) for row in whole])
    mask = torch.tensor([[1] * len(row) + [0] * (10 - len(row)) for row in whole])
    return Pairs(held(count), (ids, mask), which, texts, windows=found, figures=figures)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_the_same_after_a_stop_and_change_between_epochs(kind: str) -> None:
    pairs = long_pairs(kind)
    all_of_it = list(pair_batches(pairs, range(0, 9), 4, seed=1))
    rest = list(pair_batches(pairs, range(5, 9), 4, seed=1))
    for one, other in zip(all_of_it[5:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.text, other.text, strict=True))
    assert len(all_of_it[0].text) == (3 if kind == "sentences" else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_training_resumes_on_the_same_trajectory_and_logs_the_figures(tmp_path: Path, kind: str) -> None:
    settings_of = {"epochs": 2, "text": {"window": {"kind": kind}}}
    config = recipe(**settings_of)
    fabric = make_fabric(config.machine, "32-true")
    identity = {"a": 1}
    straight = MerlPairs(network(), config.text)
    train_pairs(straight, long_pairs(kind), tmp_path / "a", config=config, identity=identity, fabric=fabric)
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    told = [line for line in lines if "text_long" in line]
    assert [line["step"] for line in told] == [2, 5]
    assert told[0]["text_texts"] == 12
    assert (told[0]["text_never_read"] > 0) == (kind == "truncate")

    class StopError(Exception):
        pass

    calls = []

    def judge(model: MerlPairs) -> tuple[dict[str, float], float]:
        calls.append(1)
        if len(calls) == 2:
            raise StopError
        return {}, 0.0

    stopped = MerlPairs(network(), config.text)
    keywords = {"config": recipe(**settings_of, selection="last"), "identity": identity, "fabric": fabric}
    with pytest.raises(StopError):
        train_pairs(stopped, long_pairs(kind), tmp_path / "b", judge=judge, **keywords)
    again = MerlPairs(network(), config.text)
    train_pairs(again, long_pairs(kind), tmp_path / "b", resume=True, **keywords)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_the_same_at_every_look(kind: str) -> None:
    config = recipe()
    model = MerlPairs(network(), config.text)
    first = validation_losses(model, long_pairs(kind), config)
    assert first == validation_losses(model, long_pairs(kind), config)
    assert all(np.isfinite(list(first.values())))


@pytest.mark.parametrize("kind", ["random_sentence", "sentences"])
def test_vectors_of_a_frozen_tower_are_those_of_reading_in_every_step(kind: str) -> None:
    rule = TextRule(trained_layers=0)
    model = MerlPairs(network(), rule)
    pairs = long_pairs(kind)
    assert pairs.windows is not None
    vectors, windows = pairs.windows.with_vectors(model.sentence_vectors)
    rows_of_text, positions = pairs.which.tolist(), list(range(len(pairs)))
    expected = read_windows(model.sentence_vectors, *pairs.windows.batch(rows_of_text, positions, (0, 3)))
    found = windows.batch(rows_of_text, positions, (0, 3)) if vectors is None else (vectors[pairs.which],)
    assert len(found) == 1
    assert torch.allclose(found[0], expected, atol=1e-5)


def test_a_random_window_is_never_kept_as_vectors() -> None:
    model = MerlPairs(network(), TextRule(trained_layers=0))
    pairs = long_pairs("random_window")
    assert pairs.windows is not None
    assert pairs.windows.with_vectors(model.sentence_vectors) == (None, pairs.windows)


class TestRule:
    @pytest.mark.parametrize("bad", [{"kind": "middle"}, {"most": 0}, {"most": 65}, {"kinds": "truncate"}])
    def test_strict(self, bad: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            TextWindow(**bad)

    def test_it_is_a_setting_of_every_recipe_on_pairs(self) -> None:
        assert recipe().text.window == TextWindow(kind="truncate", most=8)
        config = recipe(text={"window": {"kind": "sentences", "most": 2}})
        assert config.procedure()["text"]["window"] == {"kind": "sentences", "most": 2}  # type: ignore[index]
        assert config.digest() != recipe().digest()


def test_texts_far_too_long_are_told_in_the_log_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    from medfm.workflows.pretrain_pairs import _windowed

    texts, which = different([report(30), "short"])
    pairs = Pairs(held(2), (), which, texts)
    with caplog.at_level(logging.WARNING):
        found = _windowed(pairs, recipe(), Words(), 10, "training")  # type: ignore[arg-type]
    assert "training: 1 of 2 texts are longer than 10 tokens (up to 32)" in caplog.text
    assert found.figures is not None

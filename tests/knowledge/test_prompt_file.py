"""Prompt files of one's own, and texts as a tower sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medfm.core.errors import ConfigError
from medfm.knowledge.encoded import encoded_texts
from medfm.knowledge.prompt_file import prompts_from_file
from medfm.knowledge.prompts import Prompt


def written(folder: Path, text: str, name: str = "prompts.json") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_one_text_per_label_as_published_files_have_it(tmp_path: Path) -> None:
    file = written(tmp_path, '{"NORM": "Normal, Regular.", "AF": "No P..", "LAFB/LPFB": "x"}')
    prompts = prompts_from_file(file, ["AF", "NORM"])
    assert prompts.labels == ("AF", "NORM")
    assert prompts.texts() == ["No P..", "Normal, Regular."]  # as they are, faults included
    assert prompts.strategy == "file@1"
    assert prompts.source.startswith("prompts.json (")
    assert prompts_from_file(file).labels == ("NORM", "AF", "LAFB/LPFB")


def test_lists_and_weights_in_yaml(tmp_path: Path) -> None:
    file = written(tmp_path, "A: [x, y]\nB:\n  - {text: p, weight: 3}\n  - {text: q}\n1: z\n", "p.yaml")
    a, b, one = prompts_from_file(file, ["A", "B", "1"]).classes
    assert a.groups == ((Prompt("x", 0.5), Prompt("y", 0.5)),)
    assert b.groups == ((Prompt("p", 0.75), Prompt("q", 0.25)),)
    assert one.groups == ((Prompt("z", 1.0),),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no labels"),
        ("[]", "no labels"),
        ("{", "as JSON"),
        ('{"A": "x", "A": "y"}', "'A' is given twice"),
        ('{"A": 3}', "not text"),
        ('{"A": []}', "not text"),
        ('{"A": " "}', "not text"),
        ('{"A": [{"text": "x", "wait": 1}]}', "not text"),
        ('{"A": [{"text": "x", "weight": true}]}', "not text"),
        ('{"A": [{"text": "x", "weight": -1}]}', "weights of 'A'"),
        ('{"A": [{"text": "x", "weight": 0}]}', "weights of 'A'"),
        ('{"A": [{"text": "x", "weight": NaN}]}', "weights of 'A'"),
        ('{"AB": "x"}', "lacks 1 of 1 labels: A"),
    ],
)
def test_what_is_wrong_is_clear(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompts_from_file(written(tmp_path, text), ["A"])


def test_absent_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        prompts_from_file(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        prompts_from_file(tmp_path / "b.json")


class Words:
    """A tokenizer of words with a begin and an end mark, cutting as Hugging Face's do."""

    def __init__(self) -> None:
        self.words: list[str] = ["[B]", "[E]"]

    def encode(self, text: str, *, truncation: bool = False, max_length: int | None = None) -> Sequence[int]:
        ids = []
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
            ids.append(self.words.index(word))
        if truncation and max_length is not None:
            ids = ids[: max(max_length - 2, 0)]
        return [0, *ids, 1]

    def decode(self, token_ids: Any, *, skip_special_tokens: bool = False) -> str:
        return " ".join(self.words[i] for i in token_ids if i > 1 or not skip_special_tokens)


def test_what_reaches_the_tower() -> None:
    short, long = encoded_texts(["One Two", "a b c d e"], Words(), 5, lower_case=True)
    assert (short.text, short.encoded, short.tokens, short.kept, short.truncated) == ("One Two", "one two", 4, 4, False)
    assert (long.encoded, long.tokens, long.kept, long.truncated) == ("a b c", 7, 5, True)
    assert encoded_texts(["One"], Words(), 5)[0].encoded == "One"
    with pytest.raises(ConfigError, match="0 tokens"):
        encoded_texts(["x"], Words(), 0)

"""Real text towers of retina and histopathology, tiny and untrained: caching, truncation, grouping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medfm
from medfm.embeddings.texts import text_cache
from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder
from medfm.evaluation.zero_shot import class_vectors
from medfm.knowledge.load import load_knowledge
from medfm.knowledge.prompts import PromptSet, build_prompts
from medfm.knowledge.published import as_published
from medfm.workflows.zero_shot_prompts import reaching_the_tower

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fundus", "photograph", "of", "glaucoma", "normal", "no", "macular", "hole"]  # fmt: skip


def put_card(folder: Path, source: str, name: str, changes: dict[str, str]) -> None:
    text = get_card(source).path.read_text(encoding="utf-8")
    for old, new in {f"  id: {source}\n": f"  id: {name}\n", **changes}.items():
        assert old in text, old
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    put_card(tmp_path / "cards", "quiltnet-b-32", "tiny-quilt", {
        "image: {kind: open_clip, patch: 32, width: 768, layers: 12, heads: 12}":
            "image: {kind: open_clip, patch: 32, width: 32, layers: 1, heads: 2}",
        "vocabulary: 49408, width: 512, layers: 12, heads: 8}": "vocabulary: 49408, width: 16, layers: 1, heads: 2}",
        "projection: 512": "projection: 8",
        "dim: 512": "dim: 8",
    })  # fmt: skip
    monkeypatch.setenv("MEDFM_CARDS", str(tmp_path / "cards"))
    return medfm.load_encoder("tiny-quilt", weights="random", device="cpu")


@pytest.fixture
def flair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    old = "vocabulary: 28996, width: 768, layers: 12, heads: 12, feed_forward: 3072, positions: 512}"
    put_card(tmp_path / "cards", "flair-resnet50", "tiny-flair", {
        f"hidden_states: [1, 2, -1], {old}":
            "hidden_states: [1, 2, -1], vocabulary: 40, width: 16, layers: 2, heads: 2, feed_forward: 16, positions: 128}",
        "projection: 512": "projection: 8",
        "dim: 512": "dim: 8",
    })  # fmt: skip
    monkeypatch.setenv("MEDFM_CARDS", str(tmp_path / "cards"))
    words = weights_folder() / "tiny-flair" / "tokenizer"
    words.mkdir(parents=True, exist_ok=True)
    (words / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return medfm.load_encoder("tiny-flair", weights="random", device="cpu")


def counted(encoder: Any) -> list[list[str]]:
    calls: list[list[str]] = []
    real = encoder.encode_text

    def encode(texts: list[str], as_group: bool = False) -> Any:
        calls.append(list(texts))
        return real(texts, as_group=as_group)

    encoder.encode_text = encode
    return calls


def quilt_prompts(key: str = "nct-crc-quilt") -> PromptSet:
    return build_prompts(as_published(load_knowledge("histopathology"), key), key, "templates@1")


def test_a_second_classifier_of_a_clip_tower_encodes_nothing(clip: Any, tmp_path: Path) -> None:
    calls = counted(clip)
    first = class_vectors(quilt_prompts(), text_cache(clip, tmp_path / "cache")).values
    assert sum(map(len, calls)) == 32
    calls.clear()
    again = class_vectors(quilt_prompts(), text_cache(clip, tmp_path / "cache")).values
    assert calls == [] and np.array_equal(first, again)
    # PathGen's prompts are others, but a text that both ask is not encoded twice.
    class_vectors(quilt_prompts("bach-quilt"), text_cache(clip, tmp_path / "cache"))
    assert sum(map(len, calls)) == 16


def test_another_activation_never_shares_a_text_vector(clip: Any, tmp_path: Path) -> None:
    other = medfm.load_encoder("tiny-quilt", weights="random", device="cpu", architecture={"activation": "quick_gelu"})
    assert other.text_fingerprint != clip.text_fingerprint
    calls = counted(other)
    class_vectors(quilt_prompts(), text_cache(clip, tmp_path / "cache"))
    class_vectors(quilt_prompts(), text_cache(other, tmp_path / "cache"))
    assert sum(map(len, calls)) == 32


def test_an_ensemble_by_hand(clip: Any, tmp_path: Path) -> None:
    prompts = quilt_prompts("pcam-quilt")
    made = class_vectors(prompts, text_cache(clip, tmp_path / "cache"))
    for row, entry in zip(made.values, prompts.classes, strict=True):
        vectors = clip.encode_text([p.text for p in entry.groups[0]]).numpy().astype(np.float64)
        mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_case_does_not_matter_to_clips_tokens(clip: Any) -> None:
    a, b = clip.encode_text(["An H&E image of In-situ carcinoma", "an h&e image of in-situ carcinoma"])
    assert np.array_equal(a.numpy(), b.numpy())


def test_a_prompt_longer_than_the_tower_takes_is_reported(clip: Any) -> None:
    short, long = reaching_the_tower(["adipose tissue", "adipose " * 200], clip, True)
    assert not short.truncated and long.truncated
    assert long.kept == 77 and long.tokens > 200


def test_no_shipped_prompt_is_cut_by_clip(clip: Any) -> None:
    knowledge = load_knowledge("histopathology")
    texts = {
        text
        for key in knowledge.label_sets
        for strategy in ("templates@1", "expert@1", "findings@1")
        for text in build_prompts(as_published(knowledge, key), key, strategy).texts()
    }
    cut = [e.text for e in reaching_the_tower(sorted(texts), clip, True) if e.truncated]
    assert cut == []


def test_flairs_group_is_its_padded_batch(flair: Any, tmp_path: Path) -> None:
    cache = text_cache(flair, tmp_path / "cache")
    group = ["glaucoma", "a fundus photograph of no macular hole"]
    together, alone = cache.together(group), cache.vectors(group)
    np.testing.assert_allclose(together, flair.encode_text(group, as_group=True).numpy(), atol=1e-6)
    assert np.abs(together[0] - alone[0]).max() > 1e-4  # padding entered the short one
    np.testing.assert_allclose(together[1], alone[1], atol=1e-6)  # the longest is as it was
    calls = counted(flair)
    assert np.array_equal(text_cache(flair, tmp_path / "cache").together(group), together) and calls == []


def test_clip_towers_know_no_groups(clip: Any, tmp_path: Path) -> None:
    cache = text_cache(clip, tmp_path / "cache")
    group = ["mucus", "colorectal adenocarcinoma epithelium"]
    assert np.array_equal(cache.together(group), cache.vectors(group))

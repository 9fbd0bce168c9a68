"""QuiltNet and FLAIR of a few thousand numbers, with their words, for tests from the command line."""

from __future__ import annotations

from pathlib import Path

from medfm.encoders.registry import get_card
from medfm.encoders.weights import weights_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fundus", "photograph", "of", "glaucoma", "normal", "no"]
QUILT = {
    "image: {kind: open_clip, patch: 32, width: 768, layers: 12, heads: 12}":
        "image: {kind: open_clip, patch: 32, width: 32, layers: 1, heads: 2}",
    "vocabulary: 49408, width: 512, layers: 12, heads: 8}": "vocabulary: 49408, width: 16, layers: 1, heads: 2}",
    "projection: 512": "projection: 8",
    "dim: 512": "dim: 8",
}  # fmt: skip
FLAIR = {
    "backbone: resnet50": "backbone: resnet18",
    "image_size: 512": "image_size: 64",
    "shape: [3, 512, 512]": "shape: [3, 64, 64]",
    "size: 512, mode": "size: 64, mode",
    "size: [512, 512]": "size: [64, 64]",
    "vocabulary: 28996, width: 768, layers: 12, heads: 12, feed_forward: 3072, positions: 512}":
        "vocabulary: 40, width: 16, layers: 2, heads: 2, feed_forward: 16, positions: 128}",
    "projection: 512": "projection: 8",
    "dim: 512": "dim: 8",
}  # fmt: skip


def put_tiny_pictures(folder: Path) -> Path:
    """Write the cards ``tiny-quilt`` and ``tiny-flair`` into `folder` (name it in MEDFM_CARDS), words included."""
    folder.mkdir(parents=True, exist_ok=True)
    for source, name, changes in (("quiltnet-b-32", "tiny-quilt", QUILT), ("flair-resnet50", "tiny-flair", FLAIR)):
        text = get_card(source).path.read_text(encoding="utf-8")
        for old, new in {f"  id: {source}\n": f"  id: {name}\n", **changes}.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    words = weights_folder() / "tiny-flair" / "tokenizer"
    words.mkdir(parents=True, exist_ok=True)
    (words / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder

"""``--preprocessing NAME`` reaches the encoder from every verb that embeds records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from medfm.cli.main import cli
from medfm.core.errors import WeightsError
from medfm.encoders import load
from medfm.encoders.registry import get_card


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    lines = ["path,label,text,split,time,event"]
    for i in range(8):
        picture = np.random.default_rng(i).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},words {i},{'train' if i < 4 else 'test'},{i + 1},{i % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "labels.csv"


VERBS = {
    "embed": ["embed"],
    "probe": ["probe"],
    "retrieve": ["retrieve", "--label", "label"],
    "search": ["retrieve", "--like", "0.png"],
    "zeroshot": ["zeroshot", "--label-set", "fives"],
    "fewshot": ["fewshot"],
    "survival": ["survival", "--time", "time", "--event", "event"],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", [None, "field-of-view"])
def test_the_name_reaches_the_encoder(verb: str, name: str | None, eyes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stop(encoder: str, **given: Any) -> None:
        seen.update(given, encoder=encoder)
        raise WeightsError("seen enough")

    monkeypatch.setattr(load, "load_encoder", stop)
    first, *more = VERBS[verb]
    given = [first, str(eyes), "--encoder", "flair-resnet50", "--modality", "retina", *more]
    result = CliRunner().invoke(cli, given + ([] if name is None else ["--preprocessing", name]))
    assert isinstance(result.exception, WeightsError), result.output
    assert seen["encoder"] == "flair-resnet50" and seen["variant"] == name


def test_a_wrong_name_is_answered_with_the_cards_own(eyes: Path) -> None:
    given = ["embed", str(eyes), "--encoder", "flair-resnet50-pooled", "--weights", "random", "--modality", "retina"]
    result = CliRunner().invoke(cli, [*given, "--preprocessing", "field-of-vew"])
    assert result.exception is not None
    known = get_card("flair-resnet50-pooled").spec.preprocessing_variants
    message = str(result.exception)
    assert "field-of-vew" in message and any(name in message for name in known)

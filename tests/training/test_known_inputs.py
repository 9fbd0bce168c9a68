"""Embeddings that are known already save passes through an encoder that has not moved, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medfm.core.progress import Silent
from medfm.training.classifier import Classifier
from medfm.training.finetune import fit
from medfm.training.finetune_batches import Labelled
from medfm.training.known_inputs import KnownInputs
from tests.training.tuning_parts import BINARY, data, equal_states, recipe, signal_encoder

PROBE = {"name": "probe", "epochs": 1, "layers": {"kind": "head"}, "augment": False}
TUNE = {"name": "tune", "epochs": 1, "layers": {"kind": "whole", "lr": 1e-3}, "augment": False}


def known(labelled: Labelled, shift: float = 0.0) -> Labelled:
    inputs = torch.stack([labelled.inputs[i] for i in range(len(labelled))])
    return Labelled(KnownInputs(labelled.inputs, _vectors(inputs) + shift), labelled.targets)


@torch.no_grad()
def _vectors(inputs: torch.Tensor) -> torch.Tensor:
    from medfm.encoders.published import family_of

    encoder = signal_encoder()
    encoder.module.eval()
    out: torch.Tensor = family_of(encoder.card)[0].embed(encoder.module, inputs).float()
    return out


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that the network sees."""
    seen: list[int] = []
    real = Classifier.embeddings

    def counted(self: Classifier, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return real(self, x)

    monkeypatch.setattr(Classifier, "embeddings", counted)
    return seen


def test_a_probe_makes_the_same_model_with_fewer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = passes(monkeypatch)
    plain = fit(signal_encoder(), recipe(PROBE), data(8), data(4, 1), BINARY)
    without = len(seen)
    seen.clear()
    quick = fit(signal_encoder(), recipe(PROBE), known(data(8)), known(data(4, 1)), BINARY)
    # The one that is left checks the finished model on the validation records.
    assert len(seen) == 1 < without
    assert torch.allclose(plain.model.head.linear.weight, quick.model.head.linear.weight, atol=1e-5)
    assert plain.kept["epoch"] == quick.kept["epoch"]


def test_known_embeddings_are_not_used_once_the_encoder_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe after a stage of training: embeddings of the untouched encoder would be wrong there."""
    stages = (TUNE, {**PROBE, "name": "again"})
    changes = {"head": {"standardise": False}}
    plain = fit(signal_encoder(), recipe(*stages, **changes), data(8), data(4, 1), BINARY)
    given = fit(signal_encoder(), recipe(*stages, **changes), known(data(8), 100.0), known(data(4, 1), 100.0), BINARY)
    assert equal_states(plain.model, given.model)


def test_they_are_used_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would show nothing."""
    changes = {"head": {"standardise": False}}
    plain = fit(signal_encoder(), recipe(PROBE, **changes), data(8), data(4, 1), BINARY)
    given = fit(signal_encoder(), recipe(PROBE, **changes), known(data(8), 100.0), known(data(4, 1), 100.0), BINARY)
    assert not equal_states(plain.model.head, given.model.head)


def test_records_are_read_through_it() -> None:
    labelled = known(data(4))
    assert len(labelled.inputs) == 4 and torch.equal(labelled.inputs[2], data(4).inputs[2])


def test_a_resumed_run_embeds_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint may hold an encoder that moved; nothing is taken for granted then."""
    short = recipe({**PROBE, "epochs": 2})
    fit(signal_encoder(), short, known(data(8)), known(data(4, 1)), BINARY, folder=tmp_path, progress=Silent)
    seen = passes(monkeypatch)
    again = fit(
        signal_encoder(),
        short,
        known(data(8)),
        known(data(4, 1)),
        BINARY,
        folder=tmp_path,
        resume=True,
        progress=Silent,
    )
    assert again.resumed_from == 2 and seen

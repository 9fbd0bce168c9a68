"""Embeddings that are known already save passes through an encoder that has not moved, and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medfm.training import finetune as module
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


@pytest.mark.parametrize("stages", [({**PROBE, "epochs": 3},), (TUNE, {**PROBE, "name": "again", "epochs": 3})])
def test_a_resumed_run_uses_them_as_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: tuple[dict[str, Any], ...]
) -> None:
    """Embeddings that differ from the network's own: in a run that used them first and not after, weights would differ."""
    plan = recipe(*stages, head={"standardise": False})
    train, validation = known(data(8), 1.0), known(data(4, 1), 1.0)
    whole = fit(signal_encoder(), plan, train, validation, BINARY)
    real, done = module.local_train, []

    def stopping(*args: Any, **kwargs: Any) -> Any:
        if len(done) == len(stages):
            raise KeyboardInterrupt
        done.append(1)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "local_train", stopping)
        fit(signal_encoder(), plan, train, validation, BINARY, folder=tmp_path)
    again = fit(signal_encoder(), plan, train, validation, BINARY, folder=tmp_path, resume=True)
    assert again.resumed_from == len(stages) and equal_states(again.model, whole.model)


def test_a_checkpoint_that_does_not_say_so_is_taken_as_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of earlier versions."""
    plan = recipe({**PROBE, "epochs": 2})
    saved: list[dict[str, Any]] = []
    real = module.save_checkpoint

    def once(path: Path, state: dict[str, Any]) -> None:
        if saved:
            raise KeyboardInterrupt
        saved.append(state)
        real(path, {key: value for key, value in state.items() if key != "untouched"})

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "save_checkpoint", once)
        fit(signal_encoder(), plan, known(data(8)), known(data(4, 1)), BINARY, folder=tmp_path)
    seen = passes(monkeypatch)
    again = fit(signal_encoder(), plan, known(data(8)), known(data(4, 1)), BINARY, folder=tmp_path, resume=True)
    assert again.resumed_from == 1 and len(seen) > 1 and saved[0]["untouched"]

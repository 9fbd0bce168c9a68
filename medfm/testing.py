"""Conformance checks for encoders, shipped ones and your own cards alike.

Usage in a test::

    from medfm.testing import check_encoder
    check_encoder("my-encoder")
"""

from __future__ import annotations

import copy
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medfm.core.errors import MedfmError, WeightsError
from medfm.encoders.card import Card, read_card, render_card
from medfm.encoders.card_schema import FLAT
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_steps import Resample, on_radiographs
from medfm.encoders.preprocessing_volume_steps import VolumeSize, VolumeSpacing
from medfm.encoders.registry import get_card
from medfm.modalities.record import Record

if TYPE_CHECKING:
    import torch

    from medfm.encoders.encoder import Encoder

# Networks above this are checked by names and shapes only.
LIGHT = 150_000_000
# How the weights of a normalisation end, in the names of the families here.
_NORMS = ("norm.weight", "bn1.weight", "norm_after_attention.weight", "ln_post.weight")


class ConformanceError(MedfmError):
    """An encoder breaks the contract that the rest of the package relies on."""


@dataclass
class Conformance:
    """What was checked. ``passed`` holds one line per check; a failed check raises instead."""

    encoder: str
    passed: list[str] = field(default_factory=list)

    def check(self, title: str, holds: bool, detail: str = "") -> None:
        """Record a check, or raise :class:`ConformanceError`."""
        if not holds:
            raise ConformanceError(f"The encoder '{self.encoder}' fails: {title}.", expected=detail or None)
        self.passed.append(title)


def synthetic_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array that depends on `name` and `shape` only, scaled to keep activations near one."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = random.standard_normal(shape, dtype=np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return np.asarray(1 + np.abs(values), dtype=np.float32)
    if leaf == "gamma":
        return np.asarray(0.5 + 0.1 * values, dtype=np.float32)
    if leaf == "weight" and len(shape) == 1:
        return np.asarray(1 + 0.1 * values, dtype=np.float32)
    if leaf == "weight":
        return np.asarray(values / np.sqrt(np.prod(shape[1:])), dtype=np.float32)
    return np.asarray(0.02 * values, dtype=np.float32)


def synthetic_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A checkpoint with these names and shapes; equal names give equal values."""
    import torch

    return {
        # A counter is a whole number in every checkpoint.
        name: torch.tensor(7)
        if name.endswith("num_batches_tracked")
        else torch.from_numpy(synthetic_tensor(name, tuple(shape)))
        for name, shape in shapes.items()
    }


def check_encoder(
    name: str | Path, published: Mapping[str, tuple[int, ...]] | None = None, *, light: int = LIGHT
) -> Conformance:
    """Check that an encoder keeps the contract.

    Card round trip; parameter count; preprocessing (shape, determinism, pickling, rebuilt from
    plain data); loading of a synthetic checkpoint under the published names, nested and flat;
    refusal of one with a tensor missing; shapes, dtype, determinism, batch 1 against 4; tokens;
    fingerprint stable, and sensitive to one weight and to the preprocessing. A text tower is
    checked by names and shapes, and the rest is run without it. Networks with more parameters
    than `light` are checked by names and shapes alone.

    Args:
        name: Encoder id, card file, or folder with ``card.md``.
        published: Published tensor name -> shape; the network's own names when absent.
        light: Largest number of parameters that is run.

    Raises:
        ConformanceError: A check failed.
    """
    card = get_card(name)
    result = Conformance(card.id)
    _check_card(card, result)
    _check_preprocessing(card, result)
    if not card.spec.weights.needed:
        _check_formula(card, result)
        return result
    shapes = _check_names(card, published, result)
    names = _without_text(card, published if published is not None else shapes)
    if sum(int(np.prod(shape)) for shape in names.values()) <= light:
        _check_running(card, names, result)
    return result


def _check_card(card: Card, result: Conformance) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "card.md"
        file.write_text(render_card(card.header, card.prose), encoding="utf-8")
        again = read_card(file)
    result.check("the card survives writing and reading", again.header == card.header and again.prose == card.prose)
    result.check("the card has text for people", len(card.prose) > 80)


def _sample(card: Card, seed: int) -> Record | np.ndarray:
    """A made-up picture, signal or volume, a little larger or smaller than the network's input."""
    random = np.random.default_rng(seed)
    if len(card.spec.input.shape) == 2:
        leads, samples = card.spec.input.shape
        length = samples + int(random.integers(-40, 40))
        hz = next((s.hz for s in card.spec.preprocessing if isinstance(s, Resample)), 500.0)
        signal = random.standard_normal((leads, length)).cumsum(axis=1).astype(np.float32) / 100
        return Record(f"sample-{seed}", card.modality, signal, {"sampling_hz": hz})
    if len(card.spec.input.shape) == 4:
        return _sample_volume(card, seed)
    _, height, width = card.spec.input.shape
    size = (height + int(random.integers(-40, 40)), width + int(random.integers(-40, 40)), 3)
    if on_radiographs(card.spec.preprocessing):
        return Record(f"sample-{seed}", card.modality, random.random(size[:2], dtype=np.float32))
    return random.integers(0, 256, size, dtype=np.uint8)


def _sample_volume(card: Card, seed: int) -> Record:
    """A made-up volume with voxels about twice as large as the network's."""
    random = np.random.default_rng(seed)
    size = next(step.size for step in card.spec.preprocessing if isinstance(step, VolumeSize))
    side = 2 * next((step.mm for step in card.spec.preprocessing if isinstance(step, VolumeSpacing)), 0.5)
    shape = [max(2, want // 2 + int(random.integers(-4, 4))) for want in size]
    volume = random.standard_normal(shape, dtype=np.float32)
    return Record(f"sample-{seed}", card.modality, volume, {"spacing_mm": [side] * 3})


def _check_preprocessing(card: Card, result: Conformance) -> None:
    steps = Preprocessing(card.spec.preprocessing)
    copies = [copy.deepcopy(steps), Preprocessing(card.spec.to_dict()["preprocessing"])]
    result.check("preprocessing survives copying and plain data", all(other == steps for other in copies))
    for seed in range(2):
        sample = _sample(card, seed)
        tensor = steps(sample)
        shape = tuple(tensor.shape)
        result.check("preprocessed shape", shape == card.spec.input.shape, f"{card.spec.input.shape}, got {shape}")
        result.check(
            "preprocessed values are finite float32",
            str(tensor.dtype) == "torch.float32" and bool(tensor.isfinite().all()),
        )
        same = all(np.array_equal(other(sample).numpy(), tensor.numpy()) for other in (steps, *copies))
        result.check("preprocessing is deterministic", same)


def _nested(card: Card, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The checkpoint nested in the first way that the card declares."""
    word = next((name for name in card.spec.weights.key_map.nesting if name != FLAT), None)
    return dict(state) if word is None else {word: dict(state)}


def _without_text(card: Card, names: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    from medfm.encoders.published import family_of

    group = family_of(card)[0].text_names
    return {name: shape for name, shape in names.items() if not set(group).intersection(name.split("."))}


def _check_names(
    card: Card, published: Mapping[str, tuple[int, ...]] | None, result: Conformance
) -> dict[str, tuple[int, ...]]:
    import torch

    from medfm.encoders.keymaps import match
    from medfm.encoders.published import build, plain_shapes

    shapes = plain_shapes(card)
    count = sum(parameter.numel() for parameter in build(card, device="meta").parameters())
    stated = card.spec.parameters
    result.check("parameter count", stated in (None, count), f"{count:,} as built, the card says {stated}")
    names = published if published is not None else shapes
    ghost = {key: torch.empty(tuple(shape), device="meta") for key, shape in names.items()}
    for checkpoint in (ghost, _nested(card, ghost)):
        report = match(checkpoint, shapes, card.spec.weights.key_map, card.id)[1]
        result.check("every published tensor has its place", report.ok, str(report))
    return shapes


def _check_running(card: Card, names: dict[str, tuple[int, ...]], result: Conformance) -> None:
    import torch

    from medfm.encoders.encoder import Encoder
    from medfm.encoders.published import load_published

    state = synthetic_state(names)
    module, report = load_published(card, _nested(card, state))
    encoder = Encoder(card, module, "local file", "synthetic weights", report)
    victim = next(key for key in state if key.endswith(_NORMS))
    try:
        load_published(card, {key: tensor for key, tensor in state.items() if key != victim})
        refused = False
    except WeightsError:
        refused = True
    result.check("a checkpoint with a tensor missing is refused", refused)
    batch = torch.stack([encoder.preprocess(_sample(card, seed)) for seed in range(4)])
    _check_outputs(encoder, batch, result)
    _check_fingerprint(encoder, state, victim, result)


def _check_formula(card: Card, result: Conformance) -> None:
    """An encoder without weights: outputs, a stable fingerprint, and weights refused."""
    import torch

    from medfm.encoders.load import load_encoder

    encoder = load_encoder(card.path)
    batch = torch.stack([encoder.preprocess(_sample(card, seed)) for seed in range(4)])
    _check_outputs(encoder, batch, result)
    result.check("the fingerprint is stable", load_encoder(card.path).fingerprint == encoder.fingerprint)
    try:
        load_encoder(card.path, weights="some-file.pth")
        refused = False
    except WeightsError:
        refused = True
    result.check("weights are refused", refused)


def _check_outputs(encoder: Encoder, batch: torch.Tensor, result: Conformance) -> None:
    import torch

    vectors = encoder(batch)
    dim = encoder.embedding_dim
    result.check("embedding shape and type", vectors.shape == (4, dim) and vectors.dtype == torch.float32)
    result.check("determinism", torch.equal(vectors, encoder(batch)))
    alone = torch.cat([encoder(one[None]) for one in batch])
    # Features of networks whose input is not of unit size have thousands.
    gap = float((alone - vectors).abs().max()) / max(1.0, float(vectors.abs().max()))
    result.check("batch of 1 against batch of 4", gap < 1e-4, f"at most 1e-4, got {gap:.1e}")
    result.check(
        "different pictures or signals get different embeddings", float((vectors[0] - vectors[1]).abs().max()) > 1e-4
    )
    if encoder.has_tokens:
        tokens = encoder.tokens(batch[:1])
        result.check("token shape", tokens.ndim == 3 and tokens.shape[0] == 1 and tokens.shape[2] == encoder.token_dim)


def _check_fingerprint(encoder: Encoder, state: dict[str, torch.Tensor], victim: str, result: Conformance) -> None:
    from medfm.encoders.encoder import Encoder
    from medfm.encoders.published import load_published

    card = encoder.card

    again = Encoder(card, encoder.module, "local file", "synthetic weights")
    result.check("the fingerprint is stable", again.fingerprint == encoder.fingerprint)
    changed = state | {victim: state[victim].clone()}
    changed[victim][0] += 1e-3
    nudged = Encoder(card, load_published(card, changed)[0], "local file", "synthetic weights")
    result.check("the fingerprint sees one changed weight", nudged.fingerprint != encoder.fingerprint)
    steps = [
        step
        for step in card.spec.to_dict()["preprocessing"]
        if step["step"] not in ("normalise", "min_max", "volume_scale", "volume_robust_scale", "radiograph_scale")
    ]
    spec = type(card.spec).model_validate(card.spec.to_dict() | {"preprocessing": steps})
    altered = Card(card.path, card.header.model_copy(update={"medfm": spec}), card.prose, card.sha256)
    other = Encoder(altered, encoder.module, "local file", "synthetic weights")
    differs = len(steps) == len(card.spec.preprocessing) or other.fingerprint != encoder.fingerprint
    result.check("the fingerprint sees other preprocessing", differs)

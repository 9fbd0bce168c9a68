"""An encoder: weights, architecture and preprocessing under one fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from medfm.core.errors import CardError, ConfigError, MedfmError
from medfm.core.hashing import sha256_json, sha256_tensors
from medfm.encoders.card import Card
from medfm.encoders.keymaps import KeyReport
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.published import family_of
from medfm.encoders.weights import Kind

if TYPE_CHECKING:
    from torch import nn


class Encoder:
    """Maps batches to embeddings; made by :func:`medfm.load_encoder`.

    Attributes:
        card: The model card.
        module: The network, in evaluation mode.
        preprocess: Record (or 8-bit picture) -> float32 tensor; built from the card.
        weights_kind: ``"published"``, ``"local file"``, ``"random"`` or ``"trained here"``.
        weights_note: Where the weights come from, in words.
        key_report: What happened to every tensor of the checkpoint; ``None`` for random weights.
    """

    def __init__(
        self,
        card: Card,
        module: nn.Module,
        weights_kind: Kind,
        weights_note: str,
        key_report: KeyReport | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.card = card
        self._family, self._args = family_of(card)
        self.module = module.eval().requires_grad_(False).to(device)
        self.preprocess = Preprocessing(card.spec.preprocessing)
        self.weights_kind: Kind = weights_kind
        self.weights_note = weights_note
        self.key_report = key_report

    @property
    def id(self) -> str:
        """The encoder's id."""
        return self.card.id

    @property
    def modality(self) -> str:
        """The modality of the records it takes."""
        return self.card.modality

    @property
    def embedding_dim(self) -> int:
        """Length d of one embedding."""
        return self.card.embedding_dim

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape (channels, height, width) of one preprocessed record."""
        return self.card.spec.input.shape

    @property
    def has_tokens(self) -> bool:
        """Whether :meth:`tokens` works."""
        return self._family.tokens is not None

    @property
    def device(self) -> torch.device:
        """Where the network is and where results are returned."""
        return next(self.module.parameters()).device

    def to(self, device: str | torch.device) -> Encoder:
        """Move the network to `device`; returns self."""
        self.module.to(resolve_device(device))
        return self

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the weights that embeddings depend on, the architecture and the preprocessing.

        Computed on first use (about half a second per 100 million parameters) and kept: weights
        changed afterwards need a new encoder.
        """
        state = self.module.state_dict()
        names = self._family.plain_names(self.module)
        used = {plain: state[key] for plain, key in names.items() if plain not in self._family.training_only}
        return sha256_json(
            {
                "weights": sha256_tensors(used),
                "family": self.card.spec.architecture.family,
                "args": self._args.to_dict(),
                "preprocessing": self.preprocess.digest,
                "embedding": self.card.spec.embedding.to_dict(),
            }
        )

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Embeddings float32 (n, :attr:`embedding_dim`) of float32 (n, 3, H, W), on :attr:`device`.

        Runs under ``inference_mode`` without autocast of its own; a batch of no records gives
        (0, d).

        Raises:
            ConfigError: The batch has another shape or dtype, or holds NaN or infinity.
            MedfmError: The network gave values that are not finite.
        """
        return self._run(self._family.embed, batch, (self.embedding_dim,))

    def tokens(self, batch: torch.Tensor) -> torch.Tensor:
        """Patch tokens float32 (n, tokens, dim) after the last norm, row by row, class token excluded."""
        if self._family.tokens is None:
            raise CardError(f"The encoder '{self.id}' has no tokens.")
        self._check(batch)
        patch = getattr(self._args, "patch", 1)
        count = int(batch.shape[2] // patch) * int(batch.shape[3] // patch)
        return self._run(self._family.tokens, batch, (count, self.embedding_dim))

    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Text embeddings (m, dim), for encoders with a text tower.

        Raises:
            CardError: This encoder has none.
        """
        raise CardError(
            f"The encoder '{self.id}' has no text tower; it embeds pictures only.",
            fix="use a linear probe or nearest neighbours instead of text prompts",
        )

    def _run(self, function: object, batch: torch.Tensor, tail: tuple[int, ...]) -> torch.Tensor:
        self._check(batch)
        if len(batch) == 0:
            return torch.zeros((0, *tail), device=self.device)
        with torch.inference_mode():
            result: torch.Tensor = function(self.module, batch.to(self.device)).float()  # type: ignore[operator]
            if not _finite(result):
                raise MedfmError(
                    f"The encoder '{self.id}' gave values that are not finite.",
                    fix="use full precision (float32), and check the weights with 'medfm doctor'",
                )
        return result

    def _check(self, batch: torch.Tensor) -> None:
        expected = f"float32 of shape (n, {', '.join(map(str, self.input_shape))})"
        fix = "encoder.preprocess(record) gives tensors of the right form; stack them with torch.stack"
        where = f"the batch given to '{self.id}'"
        if not isinstance(batch, torch.Tensor):
            raise ConfigError(
                f"A {type(batch).__name__} was given.", where=where, expected=f"a tensor, {expected}", fix=fix
            )
        size_free = self.card.spec.input.other_sizes
        shape_ok = batch.ndim == 4 and (
            tuple(batch.shape[1:]) == tuple(self.input_shape)
            or (size_free and batch.shape[1] == self.input_shape[0] and self._fits_patches(batch))
        )
        if not shape_ok:
            raise ConfigError(f"The batch has shape {tuple(batch.shape)}.", where=where, expected=expected, fix=fix)
        if batch.dtype != torch.float32:
            raise ConfigError(f"The batch is of type {batch.dtype}.", where=where, expected=expected, fix=fix)
        if not _finite(batch):
            raise ConfigError("The batch holds NaN or infinite values.", where=where, expected="finite values", fix=fix)

    def _fits_patches(self, batch: torch.Tensor) -> bool:
        patch = getattr(self._args, "patch", 1)
        return min(batch.shape[2:]) >= patch and not any(side % patch for side in batch.shape[2:])

    def __repr__(self) -> str:
        return f"Encoder({self.id!r}, {self.weights_note!r}, dim={self.embedding_dim}, device={str(self.device)!r})"


def _finite(values: torch.Tensor) -> bool:
    # One pass: a sum is finite unless an element is not, or (rarely) it overflows.
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def resolve_device(device: str | torch.device) -> torch.device:
    """``"auto"`` (a CUDA device where there is one, else the CPU) or any torch device.

    Raises:
        ConfigError: There is no such device here.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device '{device}' cannot be used here: {str(error).splitlines()[0]}",
            expected="auto, cpu, or cuda / cuda:N where there is such a device",
        ) from error
    return resolved

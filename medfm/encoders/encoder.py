"""An encoder: weights, architecture and preprocessing under one fingerprint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import torch

from medfm.core.errors import CardError, ConfigError, MedfmError
from medfm.core.hashing import sha256_json, sha256_tensors
from medfm.core.names import unknown_name
from medfm.encoders.card import Card
from medfm.encoders.class_outputs import Output, class_output
from medfm.encoders.keymaps import KeyReport
from medfm.encoders.preprocessing import Preprocessing
from medfm.encoders.preprocessing_steps import Step
from medfm.encoders.published import family_of
from medfm.encoders.tokens import SingleTexts, TextTokenizer
from medfm.encoders.tokens_bpe import ClipTokenizer
from medfm.encoders.weights import Kind

if TYPE_CHECKING:
    from torch import nn

_TEXTS_AT_ONCE = 64
_log = logging.getLogger(__name__)


class Encoder:
    """Maps batches to embeddings; made by :func:`medfm.load_encoder`.

    Attributes:
        card: The model card.
        module: The network, in evaluation mode.
        preprocess: Record (or 8-bit picture) -> float32 tensor; built from the card.
        variant: Name of the card's other preprocessing in use; ``None`` for the usual one.
        weights_kind: ``"published"``, ``"local file"``, ``"random"``, ``"trained here"`` or
            ``"no weights"`` (a fixed formula).
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
        variant: str | None = None,
    ) -> None:
        self.card = card
        self._family, self._args = family_of(card)
        self.module = module.eval().requires_grad_(False).to(device)
        self.variant = variant
        self.preprocess = Preprocessing(preprocessing_steps(card, variant))
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
    def also_for(self) -> tuple[str, ...]:
        """Other modalities that this network may be used on."""
        return self.card.spec.also_for

    @property
    def assumed(self) -> tuple[str, ...]:
        """What no checkpoint shows and is taken from the card, such as the activation of a CLIP network."""
        return tuple(getattr(self._args, "assumed", ()))

    @property
    def embedding_dim(self) -> int:
        """Length d of one embedding."""
        return self.card.embedding_dim

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one preprocessed record: (channels, height, width), (leads, samples), or (1, ...) of a volume."""
        return self.card.spec.input.shape

    @property
    def token_dim(self) -> int:
        """Width of one token; networks that project their embedding do not project tokens."""
        return int(getattr(self._args, "token_dim", self.embedding_dim))

    @property
    def has_tokens(self) -> bool:
        """Whether :meth:`tokens` works."""
        return self._family.tokens is not None

    @property
    def has_text(self) -> bool:
        """Whether :meth:`encode_text` works: the card names a text tower and the weights hold it."""
        return bool(self._text_keys)

    @property
    def has_attention(self) -> bool:
        """Whether :meth:`attention` works."""
        return self._family.attention is not None and getattr(self.module, "att_pool_head", None) is not None

    @cached_property
    def _text_keys(self) -> dict[str, str]:
        return {
            plain: key for plain, key in self._family.plain_names(self.module).items() if self._family.is_text(plain)
        }

    @property
    def device(self) -> torch.device:
        """Where the network is and where results are returned."""
        return next(chain(self.module.parameters(), self.module.buffers())).device

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
        used = {plain: state[key] for plain, key in names.items() if not self._family.is_training_only(plain)}
        return sha256_json(
            {
                "weights": sha256_tensors(used),
                "family": self.card.spec.architecture.family,
                "args": self._args.to_dict(),
                "preprocessing": self.preprocess.digest,
                "embedding": self.card.spec.embedding.to_dict(),
            }
        )

    @cached_property
    def text_fingerprint(self) -> str | None:
        """SHA-256 over the weights of the text tower and how texts are cut into tokens; ``None`` without one.

        Apart from :attr:`fingerprint`, so that embeddings of records stay valid whichever text
        tower comes with them.
        """
        if not self.has_text or self.card.spec.text is None:
            return None
        state = self.module.state_dict()
        tensors = sha256_tensors({plain: state[key] for plain, key in self._text_keys.items()})
        # Weights do not show the activation or how tokens are pooled, and both change every vector.
        how = {"activation": getattr(self._args, "activation", None), "tower": self._args.text.to_dict()}
        return sha256_json({"weights": tensors, "text": self.card.spec.text.to_dict(), "how": how})

    def with_variant(self, variant: str | None) -> Encoder:
        """The same network behind other preprocessing of the card (``None``: the usual one).

        Raises:
            UnknownNameError: The card has no such variant.
        """
        return Encoder(
            self.card, self.module, self.weights_kind, self.weights_note, self.key_report, self.device, variant
        )

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Embeddings float32 (n, :attr:`embedding_dim`) of float32 (n, *:attr:`input_shape`), on :attr:`device`.

        Runs under ``inference_mode`` without autocast of its own; a batch of no records gives
        (0, d).

        Raises:
            ConfigError: The batch has another shape or dtype, or holds NaN or infinity.
            MedfmError: The network gave values that are not finite.
        """
        return self._run(self._family.embed, batch, (self.embedding_dim,))

    def tokens(self, batch: torch.Tensor) -> torch.Tensor:
        """Patch tokens float32 (n, tokens, :attr:`token_dim`) after the last norm, row by row, class token excluded."""
        if self._family.tokens is None:
            raise CardError(f"The encoder '{self.id}' has no tokens.")
        self._check(batch)
        patch = getattr(self._args, "patch", 1)
        count = int(batch.shape[2] // patch) * int(batch.shape[3] // patch)
        return self._run(self._family.tokens, batch, (count, self.token_dim))

    def encode_text(self, texts: Sequence[str], as_group: bool = False) -> torch.Tensor:
        """Text embeddings float32 (m, :attr:`embedding_dim`), for encoders with a text tower.

        As the tower gives them, so for most encoders not of length 1. A text that is longer than
        the tower takes is cut off, with a warning; :meth:`text_lengths` tells which.

        Args:
            texts: The texts.
            as_group: Pad all to the longest and encode them together. It matters only where a
                tower averages padding in (FLAIR): by default such a tower gets each text alone,
                so that a text always has the same embedding; published prototypes were made from
                the prompts of one class as a group.

        Raises:
            CardError: This encoder has none, or the checkpoint it was loaded from holds none.
            OfflineError: The tokenizer is not on this machine.
            ConfigError: Something else than a list of texts was given.
        """
        tokenizer = self._tokenizer
        if isinstance(texts, str):
            raise ConfigError("One text was given.", expected='a list of texts, such as ["sinus rhythm"]')
        self._warn_of_cuts(texts)
        parts = [torch.zeros((0, self.embedding_dim), device=self.device)]
        function = self._family.embed_text
        assert function is not None
        step = 1 if getattr(self._args.text, "padding_counts", False) else _TEXTS_AT_ONCE
        if as_group:
            step = max(1, len(texts))
        with torch.inference_mode():
            for start in range(0, len(texts), step):
                ids, mask = tokenizer.encode(texts[start : start + step])
                parts.append(function(self.module, ids.to(self.device), mask.to(self.device)).float())
            result = torch.cat(parts)
        if not _finite(result):
            raise MedfmError(
                f"The text tower of '{self.id}' gave values that are not finite.",
                fix="use full precision (float32), and check the weights with 'medfm doctor'",
            )
        return result

    def _warn_of_cuts(self, texts: Sequence[str]) -> None:
        spec = self.card.spec.text
        lengths = self._tokenizer.lengths(texts) if texts else []
        long = [length for length in lengths if spec is not None and length > spec.max_tokens]
        if long and spec is not None:
            _log.warning(
                "%s: %d of %d texts are longer than %d tokens (up to %d) and are cut off",
                self.id,
                len(long),
                len(texts),
                spec.max_tokens,
                max(long),
            )

    def text_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text, special ones counted; beyond ``card.spec.text.max_tokens`` a text is cut off."""
        return self._tokenizer.lengths(texts)

    @property
    def text_tokenizer(self) -> SingleTexts:
        """Shows what of a text reaches the tower; errors as of :meth:`encode_text`."""
        return SingleTexts(self._tokenizer)

    @cached_property
    def _tokenizer(self) -> TextTokenizer | ClipTokenizer:
        spec = self.card.spec.text
        if spec is None or self._family.embed_text is None:
            what = {2: "signals", 4: "volumes"}.get(len(self.input_shape), "pictures")
            raise CardError(
                f"The encoder '{self.id}' has no text tower; it embeds {what} only.",
                fix="use a linear probe or nearest neighbours instead of text prompts",
            )
        if not self.has_text:
            raise CardError(
                f"The weights of '{self.id}' hold no text tower ({self.weights_note}).",
                expected=f"a whole checkpoint, with {' and '.join(f'{name}.*' for name in self._family.text_names)}",
                fix="load the whole checkpoint, or use a linear probe or nearest neighbours instead of text prompts",
            )
        if spec.kind == "clip_bpe":
            return ClipTokenizer(spec, self.id, self._args.text.vocabulary)
        return TextTokenizer(spec, self.id, self._args.text.vocabulary, self.card.folder)

    def attention(self, batch: torch.Tensor) -> torch.Tensor:
        """Where in time the network looks: float32 (n, steps), for networks that pool by attention.

        Raises:
            CardError: This one does not.
        """
        if self._family.attention is None or not self.has_attention:
            raise CardError(f"The encoder '{self.id}' does not pool by attention.")
        return self._run(self._family.attention, batch, (getattr(self._args, "steps", 0),))

    @property
    def classes(self) -> tuple[str, ...]:
        """What :meth:`classify` answers: the published classes that were trained; empty without a classifier."""
        spec = self.card.spec.classifier
        return () if spec is None else tuple(name for name in spec.classes if name not in spec.not_trained)

    def classify(self, batch: torch.Tensor, output: Output = "probability", untrained: bool = False) -> torch.Tensor:
        """The answers of the published classifier, float32 (n, classes), columns as :attr:`classes`.

        Args:
            batch: As for calling the encoder.
            output: ``"logit"``, ``"probability"`` (its sigmoid) or ``"operating_point"`` (rescaled so that
                each class's published operating point is 0.5; not a calibrated probability).
            untrained: Also the columns of classes that were never trained, in the order of the file.

        Raises:
            CardError: This encoder comes without a classifier.
            UnknownNameError: There is no such output.
        """
        spec = self.card.spec.classifier
        if spec is None or self._family.classify is None:
            raise CardError(
                f"The encoder '{self.id}' comes without a classifier.",
                fix="train one on your own labels, such as with 'medfm probe'",
            )
        logits = self._run(self._family.classify, batch, (len(spec.classes),))
        answers = class_output(logits, spec, output)
        if untrained:
            return answers
        return answers[:, [index for index, name in enumerate(spec.classes) if name not in spec.not_trained]]

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
        shape_ok = batch.ndim == len(self.input_shape) + 1 and (
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


def preprocessing_steps(card: Card, variant: str | None = None) -> tuple[Step, ...]:
    """The preprocessing of a card: the usual one, or a named variant (UnknownNameError when there is none)."""
    if variant is None:
        return card.spec.preprocessing
    variants = card.spec.preprocessing_variants
    if variant not in variants:
        raise unknown_name(
            f"preprocessing of '{card.id}'", variant, variants, where=f"{card.path}: preprocessing_variants"
        )
    return variants[variant]


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

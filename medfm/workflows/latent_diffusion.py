"""A latent diffusion autoencoder as a whole: volumes to codes, codes to volumes, and changes in between.

The networks and their arithmetic are in :mod:`medfm.encoders.ldae`, the diffusion in
:mod:`medfm.objectives`; everything here runs without gradients, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medfm.core.errors import ConfigError
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.encoder import Encoder, resolve_device
from medfm.encoders.ldae.autoencoder import decode, draw_latent, encode
from medfm.encoders.ldae.codes import lerp, slerp
from medfm.encoders.ldae.head import LinearHead
from medfm.encoders.ldae.load import PartName, build_part, find_part, generator_of, load_part
from medfm.encoders.load import RANDOM, load_encoder
from medfm.encoders.preprocessing_steps import on_volumes
from medfm.encoders.preprocessing_volume import VolumeSteps, axes_back
from medfm.objectives.ddim import Denoiser, Grid, invert, make_grid, sample
from medfm.objectives.diffusion import make_schedule
from medfm.objectives.prediction import as_noise

if TYPE_CHECKING:
    from torch import nn

_NEEDED: tuple[PartName, ...] = ("autoencoder", "denoiser")


@dataclass(frozen=True)
class Codes:
    """What a volume is turned into.

    Attributes:
        semantic: What the encoder says of it, float32 (n, d).
        stochastic: The rest, found by inverting the diffusion, float32 (n, channels, i, j, k).
    """

    semantic: Tensor
    stochastic: Tensor

    def __post_init__(self) -> None:
        if self.semantic.ndim != 2 or self.stochastic.ndim != 5 or len(self.semantic) != len(self.stochastic):
            raise ConfigError(
                f"Codes of shapes {tuple(self.semantic.shape)} and {tuple(self.stochastic.shape)} do not belong together.",
                expected="(n, d) and (n, channels, i, j, k)",
            )

    def __len__(self) -> int:
        return len(self.semantic)


class LatentDiffusionAutoencoder:
    """Encoder, compression autoencoder and denoiser of one model card; made by :func:`load_system`.

    Volumes go in as ``encoder.preprocess`` gives them, (n, 1, slices, height, width) in 0..1, and
    come out in the axes of the file, (n, 1, i, j, k), not clamped.

    Attributes:
        encoder: Gives the semantic codes.
        autoencoder: Volume to latent and back.
        denoiser: Steered by the semantic code.
        generator: The card's block: latent scale, schedule, prediction, clip, steps.
        notes: Part -> where its weights come from, in words.
    """

    def __init__(
        self, encoder: Encoder, autoencoder: nn.Module, denoiser: nn.Module, notes: Mapping[str, str] | None = None
    ) -> None:
        self.encoder = encoder
        self.generator = generator_of(encoder.card)
        self.autoencoder = autoencoder.eval().requires_grad_(False).to(encoder.device)
        self.denoiser = denoiser.eval().requires_grad_(False).to(encoder.device)
        self.notes = dict(notes or {})
        self._schedule = make_schedule(self.generator.schedule, self.generator.timesteps)
        steps = encoder.preprocess.steps
        assert on_volumes(steps)
        back = axes_back(VolumeSteps(steps).plane)  # type: ignore[arg-type]
        self._back = (0, 1, *(axis + 2 for axis in back))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.encoder.device

    def grid(self, steps: int | None = None) -> Grid:
        """The timesteps of sampling in `steps` steps (the card's number when absent)."""
        return make_grid(self._schedule, self.generator.steps if steps is None else steps)

    def volume(self, batch: Tensor) -> Tensor:
        """A batch as the encoder takes it, in the axes of the file: (n, 1, i, j, k)."""
        return batch.permute(self._back).contiguous()

    @torch.inference_mode()
    def latent(self, batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Scaled latents (n, channels, i, j, k) of a batch as the encoder takes it.

        Args:
            batch: float32 (n, 1, slices, height, width).
            generator: Draws the latents, as the published export does; without one they are the
                means, and always the same.
        """
        shape = self.encoder.input_shape
        if tuple(batch.shape[1:]) != shape or batch.dtype != torch.float32:
            raise ConfigError(
                f"The batch has shape {tuple(batch.shape)} and type {batch.dtype}.",
                expected=f"float32 of shape (n, {', '.join(map(str, shape))})",
                fix="encoder.preprocess(record) gives volumes of the right form; stack them with torch.stack",
            )
        mean, sigma = encode(self.autoencoder, self.volume(batch.to(self.device)))  # type: ignore[arg-type]
        drawn = mean if generator is None else draw_latent(mean, sigma, generator)
        return drawn * self.generator.latent_scale

    @torch.inference_mode()
    def volumes_of(self, latents: Tensor) -> Tensor:
        """Volumes (n, 1, i, j, k) of scaled latents."""
        return decode(self.autoencoder, latents.to(self.device) / self.generator.latent_scale)  # type: ignore[arg-type]

    @torch.inference_mode()
    def compressed(self, batch: Tensor) -> Tensor:
        """What the compression autoencoder alone makes of a batch, (n, 1, i, j, k): the best that codes can give."""
        return self.volumes_of(self.latent(batch))

    @torch.inference_mode()
    def encode(
        self,
        batch: Tensor,
        *,
        steps: int | None = None,
        latent: Tensor | None = None,
        progress: ProgressMaker = Silent,
    ) -> Codes:
        """Both codes of every volume; the stochastic one takes `steps` passes of the denoiser.

        Args:
            batch: float32 (n, 1, slices, height, width), as ``encoder.preprocess`` gives them.
            steps: Steps of the inversion; the card's number when absent.
            latent: What :meth:`latent` gave for the batch, such as drawn latents; their means when absent.
            progress: Shows the steps.
        """
        semantic = self.encoder(batch)
        start = self.latent(batch) if latent is None else latent.to(self.device)
        stochastic = invert(
            self.grid(steps), self._steered(semantic), start, clip=self.generator.clip, progress=progress
        )
        return Codes(semantic, stochastic)

    @torch.inference_mode()
    def latents_from(self, codes: Codes, *, steps: int | None = None, progress: ProgressMaker = Silent) -> Tensor:
        """Scaled latents of codes, by sampling in `steps` steps."""
        semantic = codes.semantic.to(self.device)
        start = codes.stochastic.to(self.device)
        return sample(self.grid(steps), self._steered(semantic), start, clip=self.generator.clip, progress=progress)

    @torch.inference_mode()
    def decode(self, codes: Codes, *, steps: int | None = None, progress: ProgressMaker = Silent) -> Tensor:
        """Volumes (n, 1, i, j, k) of codes."""
        return self.volumes_of(self.latents_from(codes, steps=steps, progress=progress))

    def vary(self, semantic: Tensor, count: int, generator: torch.Generator) -> Codes:
        """`count` codes that share one semantic code (d,) and have fresh stochastic ones, standard normal."""
        if semantic.ndim != 1 or count < 1:
            raise ConfigError("Variations need one semantic code and a positive number of them.", expected="(d,)")
        shape = (count, *self.generator.latent_shape)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return Codes(semantic.expand(count, -1), noise.to(self.device))

    def manipulate(self, codes: Codes, head: LinearHead, strengths: Sequence[float]) -> list[Codes]:
        """The codes once per strength, moved towards the head's positive class; stochastic codes stay.

        Sampling from them shows what the volume would look like with more (or, below 0, less) of it.
        """
        return [Codes(head.move(codes.semantic, strength), codes.stochastic) for strength in strengths]

    def interpolate(self, first: Codes, second: Codes, shares: Sequence[float]) -> list[Codes]:
        """Codes between two, once per share: semantic ones on a line, stochastic ones on an arc, pair by pair.

        0 gives the first, 1 the second.
        """
        return [
            Codes(
                lerp(first.semantic, second.semantic, share),
                slerp(first.stochastic, second.stochastic, share, each=True),
            )
            for share in shares
        ]

    def _steered(self, semantic: Tensor) -> Denoiser:
        def model(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            noise, gradient = self.denoiser(z, t, semantic)
            return noise, gradient

        return as_noise(model, self._schedule, self.generator.prediction)


def load_system(
    name: str | Path = "ldae-brain-mri",
    *,
    weights: Mapping[str, str | Path] | None = None,
    device: str = "auto",
    seed: int = 0,
) -> LatentDiffusionAutoencoder:
    """Load an encoder together with the networks that make volumes from its codes.

    Args:
        name: An id, a card file, or a folder with ``card.md``, whose card has a generator.
        weights: ``encoder``, ``autoencoder``, ``denoiser`` -> checkpoint file, or ``"random"`` for
            an untrained network; parts not named are taken from the card's own files.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        seed: Seed of random weights.

    Raises:
        UnknownNameError: No such encoder.
        CardError: Its card has no generator.
        ConfigError: `weights` names another part.
        WeightsError: A file is missing, damaged, unsafe or of another network.
    """
    given: dict[str, Any] = dict(weights or {})
    unknown = set(given) - {"encoder", *_NEEDED}
    if unknown:
        raise ConfigError(f"There is no part '{min(unknown)}'.", expected="encoder, autoencoder, denoiser")
    where = resolve_device(device)
    encoder = load_encoder(name, weights=given.get("encoder"), device=str(where), seed=seed)
    parts: dict[str, nn.Module] = {}
    notes = {"encoder": encoder.weights_note}
    generator_of(encoder.card)
    for part in _NEEDED:
        choice = given.get(part)
        if choice is not None and str(choice) == RANDOM:
            parts[part], notes[part] = build_part(encoder.card, part, seed), f"random: untrained network, seed {seed}"
            continue
        found = find_part(encoder.card, part, choice)
        parts[part], notes[part] = load_part(encoder.card, part, found.path)[0], found.note
    return LatentDiffusionAutoencoder(encoder, parts["autoencoder"], parts["denoiser"], notes)

"""The ``generator`` block of a model card against the rest of the card (without torch)."""

from __future__ import annotations

from dataclasses import dataclass

from medfm.core.config import build
from medfm.core.errors import ConfigError
from medfm.encoders.card_schema import EncoderSpec, Generator
from medfm.encoders.ldae.args import AutoencoderArgs, DenoiserArgs
from medfm.encoders.preprocessing_steps import on_volumes
from medfm.encoders.preprocessing_volume_steps import VolumeSize

PLACE = "medfm.generator"


@dataclass(frozen=True)
class GeneratorSizes:
    """The validated sizes of the networks beside an encoder."""

    autoencoder: AutoencoderArgs
    prior: DenoiserArgs
    denoiser: DenoiserArgs


def generator_sizes(generator: Generator, where: str) -> GeneratorSizes:
    """The sizes of the parts.

    Raises:
        ConfigError: A part has an unknown or impossible argument.
    """
    return GeneratorSizes(
        build(AutoencoderArgs, generator.autoencoder.args, where=f"{where}: {PLACE}.autoencoder.args"),
        build(DenoiserArgs, generator.prior.args, where=f"{where}: {PLACE}.prior.args"),
        build(DenoiserArgs, generator.denoiser.args, where=f"{where}: {PLACE}.denoiser.args"),
    )


def check_same_diffusion(given: Generator, wanted: Generator, where: str) -> None:
    """Refuse a denoiser that was trained for another diffusion: its outputs would mean something else.

    Args:
        given: Of the card that the denoiser belongs to.
        wanted: Of the card that it is to serve.
        where: Where it was found.

    Raises:
        ConfigError: The cards differ in prediction, schedule or timesteps.
    """
    was, needed = (
        f"prediction {one.prediction}, schedule {one.schedule}, {one.timesteps} timesteps" for one in (given, wanted)
    )
    if was != needed:
        raise ConfigError(
            f"The denoiser was trained for another diffusion: {was}.",
            where=where,
            expected=needed,
            fix="train it again with the recipe of the stage 'latent', or use the card it was trained with",
        )


def check_generator(spec: EncoderSpec, where: str) -> None:
    """Refuse a card whose generator contradicts itself or its encoder (raises ConfigError)."""
    generator = spec.generator
    assert generator is not None
    sizes = generator_sizes(generator, where)
    if not on_volumes(spec.preprocessing):
        raise ConfigError("A generator of this kind makes volumes.", where=f"{where}: {PLACE}")
    volume = next(step.size for step in spec.preprocessing if isinstance(step, VolumeSize))
    factor = sizes.autoencoder.factor
    latent = (sizes.autoencoder.latent_channels, *(side // factor for side in volume))
    if any(side % factor for side in volume) or tuple(generator.latent_shape) != latent:
        raise ConfigError(
            f"The latent shape is {list(generator.latent_shape)}, but volumes of {list(volume)} voxels shrink by {factor}.",
            where=f"{where}: {PLACE}.latent_shape",
            expected=str(list(latent)),
        )
    for name, part in (("prior", sizes.prior), ("denoiser", sizes.denoiser)):
        if part.latent_channels != latent[0] or any(side % part.factor for side in latent[2:]):
            raise ConfigError(
                f"The {name} does not take latents of shape {list(latent)}.",
                where=f"{where}: {PLACE}.{name}.args",
                expected=f"{latent[0]} latent channels, and the last two sides multiples of {part.factor}",
            )
    if sizes.denoiser.condition != spec.embedding.dim:
        raise ConfigError(
            f"The denoiser takes codes of {sizes.denoiser.condition} numbers; the encoder gives {spec.embedding.dim}.",
            where=f"{where}: {PLACE}.denoiser.args.condition",
        )

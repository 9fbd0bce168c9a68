"""Settings of protocols that draw volumes from codes and hold them against real ones; nothing is fitted."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig


class VolumeDrawing(StrictConfig):
    """What both protocols share."""

    windows: tuple[int, ...] = Field(
        (4, 11), min_length=1, description="sides of the SSIM's window in voxels: the first is 'ssim', others 'ssim_wN'"
    )
    latents: Literal["mean", "drawn"] = Field(
        "mean", description="the latent of a scan: the mean, or drawn once per scan from its Gaussian, as published"
    )
    records: Literal["test", "all"] = Field("test", description="the split 'test' where there is one, or every record")
    limit: int | None = Field(None, ge=1, description="only the first so many of these records; all when null")
    seed: int = Field(0, description="of drawn latents and of the noise that drawing starts from")

    @model_validator(mode="after")
    def _windows(self) -> VolumeDrawing:
        if any(w < 1 for w in self.windows) or len(set(self.windows)) != len(self.windows):
            raise ValueError("windows must be different and at least 1")
        return self


class Reconstruction(VolumeDrawing):
    """Scans turned into codes and drawn again from them, compared with the scans."""

    kind: Literal["reconstruction"] = "reconstruction"
    steps: tuple[int, ...] = Field(
        (10, 20, 50, 100),
        min_length=1,
        description="sampling steps (as many for the inversion); the last is the headline",
    )
    semantic_only: bool = Field(True, description="also draw from the semantic code and fresh noise")
    mean_image: bool = Field(True, description="also hold the mean of up to 100 training scans against every scan")
    distances: bool = Field(
        True, description="also the distance of the distributions of real and drawn scans' features"
    )

    @model_validator(mode="after")
    def _steps(self) -> Reconstruction:
        if any(s < 1 for s in self.steps) or len(set(self.steps)) != len(self.steps):
            raise ValueError("steps must be different and at least 1")
        return self

    @property
    def headline(self) -> str:
        """What the headline is as a variant."""
        return f"steps={self.steps[-1]}"


class Interpolation(VolumeDrawing):
    """A visit predicted from an earlier and a later one of the same patient, compared with the visit itself."""

    kind: Literal["interpolation"] = "interpolation"
    steps: int = Field(100, ge=1, description="sampling steps, and as many for the inversion")
    time: str | None = Field(
        None, description="column of the visit's time in months; 'months', else 'session' when null"
    )
    gaps: tuple[float, ...] = Field((6, 12, 18, 24), description="gaps in months with figures of their own")
    gap_tolerance: float = Field(0.0, ge=0, description="months by which a gap may differ from these")
    gap: Literal["between", "nearest"] = Field(
        "between", description="a gap is the time between the two visits, or from the target to the nearer one"
    )

    @model_validator(mode="after")
    def _gaps(self) -> Interpolation:
        ordered = sorted(self.gaps)
        if any(g <= 0 for g in ordered):
            raise ValueError("gaps must be above 0")
        if any(b - a <= 2 * self.gap_tolerance for a, b in pairwise(ordered)):
            raise ValueError("gaps overlap: they must differ by more than twice gap_tolerance")
        return self

"""Memory of one training step of LDAE, stage by stage, and the smallest GPU that holds it: computed, not run on a GPU.

    python scripts/bench/bench_ldae_memory.py [--stages autoencoder latent semantic] [--skip-check]

The modules of the recipes (losses, networks, Adam, moving average) take two optimiser steps on tensors that have shapes
and no values, at the published sizes. Every storage that an operation makes is added when it appears and taken off when
the last tensor on it is gone, so the figure is the largest sum of parameters, gradients, Adam's moments, averages,
activations and temporary results that exist at one time. Rules of a GPU are applied where they differ from a CPU's:
norms run in float32 under mixed precision, Adam updates all tensors together, and attention is counted with its full
matrix (a fused one needs less).

Not in the figure: the CUDA context, scratch memory of convolutions, fragmentation, data loading, and the perceptual
term of stage 1 (its weights are not needed here). For them a tenth and 1 GiB are added before a GPU is called large
enough.

The accounting is checked first (--skip-check leaves that out): small networks take two steps with real numbers under
torch's profiler, and the largest sum of what its allocator gave out is printed beside the computed one.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medfm.encoders.ldae.args import AutoencoderArgs, DenoiserArgs, LdaeArgs
from medfm.encoders.ldae.autoencoder import build_autoencoder
from medfm.encoders.ldae.discriminator import build_discriminator, scores
from medfm.encoders.ldae.semantic import SemanticEncoder, build_ldae
from medfm.encoders.ldae.unet import UNet, build_shift_unet, build_unet
from medfm.objectives.compression import compression_losses, discriminator_loss
from medfm.objectives.diffusion import make_schedule
from medfm.training.ldae_autoencoder import Compression, Judgement
from medfm.training.ldae_diffusion import NoiseLoss, ShiftLoss
from medfm.training.weight_average import WeightAverage

GIB = 2**30
GPUS = (8, 12, 16, 24, 40, 48, 80)
STAGES = ("autoencoder", "latent", "semantic")
# Made (and cached by its maker) before any tensor is without values.
SCHEDULE = make_schedule()


@dataclass(frozen=True)
class Sizes:
    """One size of the whole system."""

    volume: tuple[int, int, int]
    autoencoder: AutoencoderArgs
    denoiser: DenoiserArgs
    encoder: LdaeArgs
    critic: int
    batches: dict[str, int]

    @property
    def latent(self) -> tuple[int, ...]:
        return (self.autoencoder.latent_channels, *(side // self.autoencoder.factor for side in self.volume))


PUBLISHED = Sizes(
    (128, 160, 128), AutoencoderArgs(), DenoiserArgs(), LdaeArgs(), 64, {"autoencoder": 1, "latent": 64, "semantic": 4}
)
SMALL = Sizes(
    (32, 32, 32),
    AutoencoderArgs(channels=(16, 32, 32), blocks=1, groups=8),
    DenoiserArgs(width=16, condition=64, groups=8),
    LdaeArgs(slices=32, depths=(1, 1), widths=(32, 64)),
    8,
    {"autoencoder": 2, "latent": 8, "semantic": 4},
)


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that are alive; those that were there before count once an operation meets them.

    Attributes:
        live: Bytes now.
        peak: Most bytes at any time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, out)):
            if isinstance(value, Tensor):
                self._meet(value.untyped_storage())
        return out

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._leave, key, size).atexit = False

    def _leave(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


Step = Callable[[], None]


def stage_step(stage: str, sizes: Sizes, batch: int, half: bool, recompute: bool) -> tuple[nn.Module, Step]:
    """The trained module of a stage and one optimiser step of it, as the recipe takes it."""
    cast = torch.bfloat16 if half else torch.float32  # as many bytes as float16
    if stage == "autoencoder":
        return _compression_step(sizes, batch, cast, half, recompute)
    loss: NoiseLoss | ShiftLoss
    if stage == "latent":
        loss = NoiseLoss(_empty(build_unet, sizes.denoiser), SCHEDULE)
    else:
        denoiser = _empty(build_shift_unet, sizes.denoiser).freeze().train()
        loss = ShiftLoss(_empty(build_ldae, sizes.encoder), denoiser, SCHEDULE)
    for part in loss.children():
        if isinstance(part, (UNet, SemanticEncoder)):
            part.checkpointing = recompute
    optimizer, average = _adam(loss), WeightAverage(loss, 0.999)
    given = [torch.zeros(batch, *sizes.latent), torch.full((batch,), 500), torch.zeros(batch, *sizes.latent)]
    if stage == "semantic":
        i, j, k = sizes.volume
        given.append(torch.zeros(batch, 1, k, i, j))

    def step() -> None:
        with _mixed(cast, half):
            value = loss(*given)
        value.backward()
        _descend(loss, optimizer)
        average.update(loss)

    return loss, step


def _compression_step(
    sizes: Sizes, batch: int, cast: torch.dtype, half: bool, recompute: bool
) -> tuple[nn.Module, Step]:
    autoencoder = _empty(build_autoencoder, sizes.autoencoder)
    autoencoder.use_checkpoint = recompute
    compression = Compression(autoencoder)
    judgement = Judgement(_empty(build_discriminator, sizes.critic))
    optimizers = [_adam(compression), _adam(judgement)]
    volume, noise = torch.zeros(batch, 1, *sizes.volume), torch.zeros(batch, *sizes.latent)

    def step() -> None:
        with _mixed(cast, half):
            drawn, mean, sigma = compression(volume, noise)
        drawn, mean, sigma = drawn.float(), mean.float(), sigma.float()  # as Fabric hands them back
        judgement.requires_grad_(False)
        with _mixed(cast, half):
            fooled = scores(judgement.discriminator, drawn)  # type: ignore[arg-type]
        compression_losses(drawn, volume, mean, sigma, fooled).total.backward()
        judgement.requires_grad_(True)
        _descend(compression, optimizers[0])
        with _mixed(cast, half):
            of_drawn, of_real = judgement(drawn.detach(), volume)
        discriminator_loss(of_drawn, of_real).backward()
        _descend(judgement, optimizers[1])

    return nn.ModuleList([compression, judgement]), step


def _empty(build: Callable[..., Any], args: Any) -> Any:
    """An untrained network whose values are left to the tensors' kind: none, or small ones where they are real."""
    module = build(args, device="meta")
    for part in module.modules():
        for name, tensor in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(torch.full(tensor.shape, 0.01)))
        for name, tensor in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.full(tensor.shape, 1, dtype=tensor.dtype))
    return module.train()


def _adam(module: nn.Module) -> torch.optim.Adam:
    # All tensors together: what Adam does on a GPU unless told otherwise.
    return torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-5, foreach=True)


def _descend(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad()


def _mixed(cast: torch.dtype, half: bool) -> torch.autocast:
    return torch.autocast("cpu", cast, enabled=half)


@contextlib.contextmanager
def _norms_in_float32() -> Iterator[None]:
    """CUDA's rule of mixed precision for norms (the CPU's keeps them in 16 bits), in recomputed parts too."""
    kept = functional.group_norm, functional.layer_norm

    def ruled(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda x, *rest, **more: norm(x.float() if torch.is_autocast_enabled("cpu") else x, *rest, **more)

    functional.group_norm, functional.layer_norm = map(ruled, kept)
    try:
        yield
    finally:
        functional.group_norm, functional.layer_norm = kept


def computed(stage: str, sizes: Sizes, batch: int, half: bool, recompute: bool) -> tuple[int, int]:
    """Largest sum of bytes within two optimiser steps, and between steps, on tensors without values."""
    with (
        _norms_in_float32(),
        FakeTensorMode(allow_non_fake_inputs=True),
        LiveBytes() as ledger,
        sdpa_kernel(SDPBackend.MATH),
    ):
        _, step = stage_step(stage, sizes, batch, half, recompute)
        step()
        ledger.peak = 0
        step()
    return ledger.peak, ledger.live


def allocated(stage: str, sizes: Sizes, batch: int, half: bool, recompute: bool) -> int:
    """The same with real numbers, by torch's own allocator."""
    from torch.profiler import ProfilerActivity, profile

    with sdpa_kernel(SDPBackend.MATH), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        _, step = stage_step(stage, sizes, batch, half, recompute)
        step()
        step()
    changes, queue = [], list(seen.profiler.kineto_results.experimental_event_tree())
    while queue:
        event = queue.pop()
        queue.extend(event.children)
        if event.name == "[memory]":
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    live = peak = 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        live += change
        peak = max(peak, live)
    return peak


def check(stages: list[str]) -> None:
    """Print computed beside measured figures of the small system."""
    print("Check on small networks with real numbers (MiB): computed | allocator of torch, error")
    for stage in stages:
        for recompute in (False, True):
            batch = SMALL.batches[stage]
            ours = computed(stage, SMALL, batch, False, recompute)[0]
            theirs = allocated(stage, SMALL, batch, False, recompute)
            print(
                f"  {stage:12} {'recomputed' if recompute else 'kept':11} {ours / 2**20:8.1f} | {theirs / 2**20:8.1f} "
                f"{100 * (ours / theirs - 1):+5.1f} %",
                flush=True,
            )


def smallest(peak: int) -> str:
    """The smallest GPU that holds `peak` bytes, a tenth and 1 GiB."""
    needed = 1.1 * peak / GIB + 1
    return next((f"{gpu} GB" for gpu in GPUS if needed <= gpu), f"none of {GPUS[-1]} GB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--skip-check", action="store_true", help="leave out the check with real numbers")
    options = parser.parse_args()
    if not options.skip_check:
        check(options.stages)
    print(
        "One training step at the published sizes (GiB), computed and not run on a GPU; smallest GPU with its reserve"
    )
    print(f"{'stage':12} {'batch':>5} {'numbers':8} {'activations':11} {'between':>8} {'peak':>7}  GPU")
    for stage in options.stages:
        for batch in sorted({PUBLISHED.batches[stage], 1}, reverse=True):
            for half in (False, True):
                for recompute in (False, True):
                    began = time.perf_counter()
                    peak, between = computed(stage, PUBLISHED, batch, half, recompute)
                    print(
                        f"{stage:12} {batch:>5} {'16-mixed' if half else '32-true':8} {'recomputed' if recompute else 'kept':11} "
                        f"{between / GIB:>8.1f} {peak / GIB:>7.1f}  {smallest(peak):14} ({time.perf_counter() - began:.0f} s)",
                        flush=True,
                    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

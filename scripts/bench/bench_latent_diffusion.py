"""Diffusion in latent space against diffusion of voxels with the same denoiser: a step, and a whole reconstruction.

    python scripts/bench/bench_latent_diffusion.py [--side 64] [--width 32] [--steps 100] [--rounds 3] [--skip-times]

Both sides use LDAE's shift U-Net (frozen half and steered half) without attention: with the published attention an image
of (112, 128, 112) voxels would need attention over 401,408 places. Three parts:

1. Floating-point operations (a multiplication and an addition are two) of one step, counted on tensors without memory:
   published width 256, latents (3, 16, 20, 16) of volumes of (128, 160, 128) against the (112, 128, 112) voxels that the
   publication diffuses; against voxels of the same volume beside it. Bar: at least 200 times fewer.
2. Wall time of one step with a narrow network, latents of an eighth of the side against voxels, in turns, after one
   step of each that does not count. Bar: at least 200 times less at 64 against 8.
3. A whole reconstruction from noise: the published autoencoder encodes a volume, the latent is sampled in S steps and
   decoded, against S steps on voxels. The latent side is run as a whole. The voxel side is not: S times the measured
   step, which is said beside the figure. Bar: at least 20 times less.

The semantic code is left out on both sides (it is the same). Weights are random, which takes as long as trained ones;
the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from medfm.encoders.ldae.args import AutoencoderArgs, DenoiserArgs
from medfm.encoders.ldae.autoencoder import build_autoencoder, decode, encode
from medfm.encoders.ldae.unet import ShiftUNet, build_shift_unet
from medfm.objectives.ddim import make_grid, sample
from medfm.objectives.diffusion import make_schedule

FACTOR = 8
CODE = 768
# The publication's diffusion on voxels ran on a smaller volume than its latents are made from.
DIFFUSED_VOXELS, VOLUME, LATENT = (1, 112, 128, 112), (1, 128, 160, 128), (3, 16, 20, 16)
BAR_STEP, BAR_WHOLE = 200.0, 20.0
LATENT_SCALE = 0.873


def denoiser(channels: int, width: int, device: str = "cpu") -> ShiftUNet:
    """The shift U-Net of LDAE without attention above its middle block; `channels` is 1 for voxels, 3 for latents.

    The attention in the middle block would see one place in 16 of every volume (the network halves the last two sides
    twice), so it is taken out too.
    """
    args = DenoiserArgs(latent_channels=channels, width=width, attention_at=(), condition=CODE)
    network = build_shift_unet(args, device=device)
    for middle in (network.middle_block, network.shift_middle_block):
        middle[1] = Passing()  # type: ignore[index]
    return network.eval().requires_grad_(False)


class Passing(torch.nn.Module):
    """In place of attention: hands on what it is given."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h


def step_flops(shape: tuple[int, ...], width: int) -> int:
    """Operations of one step of the denoiser on one latent or volume of `shape` (channels and sides)."""
    network = denoiser(shape[0], width, "meta")
    z, t, y = torch.empty(1, *shape, device="meta"), torch.zeros(1, device="meta"), torch.empty(1, CODE, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(z, t, y)
    return int(counter.get_total_flops())


def autoencoder_flops(shape: tuple[int, ...], part: str) -> int:
    """Operations of encoding a volume (1, i, j, k), or of decoding its latent, with the published autoencoder."""
    module = build_autoencoder(AutoencoderArgs(), device="meta").eval()
    volume = torch.empty(1, *shape, device="meta")
    latent = torch.empty(1, 3, *(side // FACTOR for side in shape[1:]), device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encode(module, volume) if part == "encode" else decode(module, latent)
    return int(counter.get_total_flops())


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def count(width: int) -> bool:
    """Print part 1; whether its bar is reached."""
    voxels, latent = step_flops(DIFFUSED_VOXELS, width), step_flops(LATENT, width)
    same, ratio = step_flops(VOLUME, width), voxels / latent
    there, back = (autoencoder_flops(VOLUME, part) for part in ("encode", "decode"))
    print(f"1. Operations of one step, counted, width {width}, no attention, batch 1")
    print(f"   voxels {DIFFUSED_VOXELS}: {voxels / 1e12:.1f} TFLOP; latent {LATENT}: {latent / 1e12:.3f} TFLOP")
    print(f"   voxels {VOLUME}, the volume of that latent: {same / 1e12:.1f} TFLOP, {same / latent:.0f} x")
    print(f"   autoencoder on {VOLUME}: encode {there / 1e12:.2f}, decode {back / 1e12:.2f} TFLOP")
    for steps in (20, 100):
        whole = steps * voxels / (there + steps * latent + back)
        print(f"   encode, {steps} steps, decode against {steps} steps on voxels: {whole:.0f} x fewer [derived]")
    print(f"   one step: {ratio:.0f} x fewer (bar {BAR_STEP:.0f}): {verdict(ratio >= BAR_STEP)}")
    return ratio >= BAR_STEP


def measure(side: int, width: int, steps: int, rounds: int) -> bool:
    """Print parts 2 and 3; whether their bars are reached."""
    draw = torch.Generator().manual_seed(0)
    small = side // FACTOR
    voxel_net, latent_net = denoiser(1, width), denoiser(3, width)
    autoencoder = build_autoencoder(AutoencoderArgs()).eval().requires_grad_(False)
    volume = torch.rand(1, 1, side, side, side, generator=draw)
    noise = torch.randn(1, 3, small, small, small, generator=draw)
    code = torch.randn(1, CODE, generator=draw)
    t = torch.full((1,), 500)
    grid = make_grid(make_schedule(), steps)

    def on_latents(z: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return latent_net(z, at, code)

    def whole() -> torch.Tensor:
        encode(
            autoencoder, volume
        )  # as a reconstruction begins; its noise is drawn, so the time of inversion is not in it
        return decode(autoencoder, sample(grid, on_latents, noise) / LATENT_SCALE)

    few = max(1, min(10, steps))
    with torch.inference_mode():
        latent_net(noise, t, code)
        voxel_net(volume, t, code)
        rounds_ = []
        for number in range(rounds):
            latent = tuple(one / few for one in seconds(lambda: [latent_net(noise, t, code) for _ in range(few)]))
            voxel, everything = seconds(lambda: voxel_net(volume, t, code)), seconds(whole)
            rounds_.append((voxel, latent, everything))
            print(
                f"   round {number + 1}: voxel step {voxel[0]:.2f} s, latent step {1e3 * latent[0]:.1f} ms, encode, sample "
                f"and decode {everything[0]:.1f} s (processor: {voxel[1]:.2f} s, {1e3 * latent[1]:.1f} ms, {everything[1]:.1f} s)",
                flush=True,
            )
    steps_by_wall = [voxel[0] / latent[0] for voxel, latent, _ in rounds_]
    whole_by_wall = [steps * voxel[0] / everything[0] for voxel, _, everything in rounds_]
    found = []
    for clock in (0, 1):
        one = statistics.median(voxel[clock] / latent[clock] for voxel, latent, _ in rounds_)
        all_of_it = statistics.median(steps * voxel[clock] / everything[clock] for voxel, _, everything in rounds_)
        found.append((one, all_of_it))
    (step_ratio, whole_ratio), by_processor = found
    print(f"2. Wall time of one step, {side}^3 voxels against {small}^3 latents, width {width}, no attention, batch 1")
    print(f"   Medians of {rounds} round{'s' * (rounds > 1)}; in brackets lowest to highest:")
    print(
        f"   {step_ratio:.0f} x [{min(steps_by_wall):.0f} to {max(steps_by_wall):.0f}] (by processor time {by_processor[0]:.0f} x; bar {BAR_STEP:.0f}): "
        f"{verdict(step_ratio >= BAR_STEP)}"
    )
    print(
        f"3. Encode, sample in {steps} steps and decode (published autoencoder), measured as a whole, against {steps} times the"
    )
    print(
        f"   measured step on voxels [extrapolated]: {whole_ratio:.0f} x [{min(whole_by_wall):.0f} to {max(whole_by_wall):.0f}] (by processor time {by_processor[1]:.0f} x; "
        f"bar {BAR_WHOLE:.0f}): {verdict(whole_ratio >= BAR_WHOLE)}"
    )
    return step_ratio >= BAR_STEP and whole_ratio >= BAR_WHOLE


def verdict(reached: bool) -> str:
    """In words."""
    return "reached" if reached else "MISSED"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64, help="voxels along every side, a multiple of 32 [64]")
    parser.add_argument("--width", type=int, default=32, help="channels of the first level in the timed network [32]")
    parser.add_argument("--steps", type=int, default=100, help="sampling steps of the whole reconstruction [100]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-times", action="store_true", help="count operations alone")
    options = parser.parse_args()
    if options.side % 32:
        parser.error("--side must be a multiple of 32")
    if min(options.side, options.width, options.steps, options.rounds, options.threads) < 1:
        parser.error("--side, --width, --steps, --rounds and --threads must be at least 1")
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    reached = [count(256)]
    if not options.skip_times:
        reached.append(measure(options.side, options.width, options.steps, options.rounds))
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())

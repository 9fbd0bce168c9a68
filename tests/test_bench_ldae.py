"""What the benchmarks of volumes and latents count and write: exact on arrays small enough to count by hand."""

from __future__ import annotations

import gc
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from medfm.modalities.registry import read_record

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20


def script(name: str) -> ModuleType:
    path = ROOT / "scripts" / "bench" / f"{name}.py"
    if not path.is_file():
        pytest.skip("needs the checkout")
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    return script("bench_ldae_memory")


@pytest.fixture(scope="module")
def diffusion() -> ModuleType:
    return script("bench_latent_diffusion")


@pytest.mark.parametrize("fake", [False, True])
def test_storages_count_from_their_first_operation_to_their_last_tensor(memory: ModuleType, fake: bool) -> None:
    with FakeTensorMode() if fake else torch.enable_grad(), memory.LiveBytes() as ledger:
        a = torch.zeros(MIB // 4)
        assert (ledger.live, ledger.peak) == (MIB, MIB)
        view = a.view(2, -1)[0]  # shares its storage: nothing more
        b = a + 1
        assert ledger.live == 2 * MIB
        del a
        assert ledger.live == 2 * MIB  # the view still holds it
        del view
        gc.collect()
        assert ledger.live == MIB
        b.add_(1)
        c = b * 2
        del b, c
        gc.collect()
    assert (ledger.live, ledger.peak) == (0, 2 * MIB)


def test_what_autograd_keeps_counts_until_the_backward_pass(memory: ModuleType) -> None:
    with FakeTensorMode(), memory.LiveBytes() as ledger:
        w = torch.nn.Parameter(torch.zeros(MIB // 4))
        loss = (w.exp() * 3).sum()  # exp keeps its result
        assert 2 * MIB <= ledger.live <= 2 * MIB + 64
        loss.backward()
        del loss
        assert 2 * MIB <= ledger.live <= 2 * MIB + 64  # the weight and its gradient


def test_adam_on_all_tensors_together_needs_five_times_the_parameters(memory: ModuleType) -> None:
    """Parameters, gradients, two moments, and one temporary list; written out, not taken from the script."""
    with FakeTensorMode(), memory.LiveBytes() as ledger:
        module = torch.nn.Linear(256, 1024, bias=False)
        optimizer = memory._adam(module)
        module.weight.grad = torch.zeros_like(module.weight)
        memory._descend(module, optimizer)
    assert ledger.peak / MIB == pytest.approx(5, abs=0.01) and ledger.live / MIB == pytest.approx(3, abs=0.01)


@pytest.fixture(scope="module")
def narrow(memory: ModuleType) -> object:
    return memory.Sizes(
        (16, 16, 16),
        memory.AutoencoderArgs(channels=(8, 8), blocks=1, groups=4, latent_channels=2),
        memory.DenoiserArgs(latent_channels=2, width=8, multipliers=(1,), blocks=1, condition=16, groups=4),
        memory.LdaeArgs(slices=16, depths=(1, 1), widths=(8, 16), heads=2),
        4,
        {"autoencoder": 1, "latent": 2, "semantic": 2},
    )


@pytest.mark.parametrize("stage", ["latent"])
def test_a_step_without_values_needs_what_a_step_with_values_does(
    memory: ModuleType, narrow: object, stage: str
) -> None:
    """The same ledger over real tensors; against torch's allocator the script itself compares."""
    batch = 2
    with memory.LiveBytes() as ledger, memory.sdpa_kernel(memory.SDPBackend.MATH):
        _, step = memory.stage_step(stage, narrow, batch, False, False)
        step()
        ledger.peak = 0
        step()
    peak, between = memory.computed(stage, narrow, batch, False, False)
    assert peak == pytest.approx(ledger.peak, rel=0.02) and between == pytest.approx(ledger.live, rel=0.02)
    trained = 3 * 4 * sum(p.numel() for p in _trained(memory, narrow, stage))
    assert between > trained  # parameters and two moments at least


def _trained(memory: ModuleType, sizes: object, stage: str) -> list[torch.nn.Parameter]:
    module, _ = memory.stage_step(stage, sizes, 1, False, False)
    return [p for p in module.parameters() if p.requires_grad]


def test_recomputing_and_half_numbers_need_less(memory: ModuleType, narrow: object) -> None:
    whole = memory.computed("latent", narrow, 16, False, False)[0]
    assert memory.computed("latent", narrow, 16, True, True)[0] < whole
    assert torch.nn.functional.group_norm.__module__ == "torch.nn.functional"  # put back


def test_the_smallest_gpu_has_a_reserve(memory: ModuleType) -> None:
    gib = 2**30
    found = [memory.smallest(int(peak * gib)) for peak in (1, 6.3, 6.5, 20.9, 21, 71.8, 72)]
    assert found == ["8 GB", "8 GB", "12 GB", "24 GB", "40 GB", "80 GB", "none of 80 GB"]


def test_the_denoiser_is_counted_without_attention(diffusion: ModuleType) -> None:
    """Eight times the voxels, eight times the operations but for the embeddings, which attention would not give."""
    small, large = (diffusion.step_flops((1, side, side, side), 8 * 4) for side in (16, 32))
    assert large / small == pytest.approx(8, rel=0.01)
    names = [name for name, _ in diffusion.denoiser(3, 32, "meta").named_modules()]
    assert not any("qkv" in name for name in names) and any("shift_output_blocks" in name for name in names)


def test_counted_operations_are_those_of_a_convolution_written_out(diffusion: ModuleType) -> None:
    """One more input channel adds 27 x width multiplications and additions a voxel, and as many on the two ways out."""
    width, voxels = 32, 8**3
    one, two = (diffusion.step_flops((channels, 8, 8, 8), width) for channels in (1, 2))
    assert two - one == 3 * 2 * 27 * width * voxels


@pytest.mark.parametrize("split", [1, 2])
def test_written_volumes_differ_and_keep_their_size_in_mm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: int
) -> None:
    bench = script("bench_volumes")
    head = np.arange(6 * 7 * 5, dtype=np.int16).reshape(6, 7, 5)
    monkeypatch.setattr(bench, "made_up_head", lambda seed: (head, np.diag([2.0, 2.0, 2.0, 1.0])))
    files = bench.write_volumes(tmp_path, None, "", 2, split)
    records = [read_record(file, "brain_mri") for file in files]
    assert [record.array.shape for record in records] == [(6 * split, 7 * split, 5 * split)] * 2
    np.testing.assert_allclose(records[0].facts["spacing_mm"], [2 / split] * 3, rtol=1e-6)
    assert int((records[0].array != records[1].array).sum()) == 1
    whole = records[0].array[::split, ::split, ::split]
    assert int((whole != head).sum()) <= 1


def test_a_made_up_head_is_whole_numbers_within_air() -> None:
    values, affine = script("bench_volumes").made_up_head(3)
    assert values.dtype == np.int16 and values[0, 0, 0] == 0 and values[45, 54, 45] > 200
    assert affine[0, 0] == 2.0


def test_times_are_of_the_call_alone() -> None:
    done: list[int] = []
    wall, processor = script("bench_volumes").timed(lambda: done.append(1))
    assert done == [1] and processor >= 0 and 0 < wall < 5

"""The ECG benchmark compares equal tensors: both paths on its own records, and on a real one where present."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "ecg" / "records" / "ptbxl"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    script = ROOT / "scripts" / "bench" / "bench_ecg.py"
    if not script.is_file():
        pytest.skip("needs the checkout")
    specification = importlib.util.spec_from_file_location("bench_ecg", script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_both_paths_give_one_tensor(bench: ModuleType, tmp_path: Path) -> None:
    headers = bench.written(tmp_path)
    assert {header.with_suffix(".mat").is_file() for header in headers} == {True, False}
    for header in headers:
        row = bench.compare(header, bench.by_rdsamp, 1)
        assert row["equal"], row
        assert row["medfm_ms"] > 0 and row["published_ms"] > 0
    assert bench.compare(headers[-1], bench.by_loadmat, 1)["equal"]


def test_a_difference_would_be_noticed(bench: ModuleType, tmp_path: Path) -> None:
    header = bench.written(tmp_path)[0]

    def unswapped(path: Path) -> object:
        tensor = bench.by_rdsamp(path)
        tensor[[4, 5]] = tensor[[5, 4]]
        return tensor

    row = bench.compare(header, unswapped, 1)
    assert not row["equal"]
    assert row["largest_difference"] > 0.01


def test_real_records_agree(bench: ModuleType) -> None:
    if not REAL.is_dir():
        pytest.skip("the real ECGs beside the repository are absent")
    for header in sorted(REAL.glob("*.hea"))[:6]:
        ours = bench.Preprocessing(bench.get_card("merl-resnet18").spec.preprocessing)(bench.read_record(header, "ecg"))
        theirs = bench.by_rdsamp(header)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=1e-6)

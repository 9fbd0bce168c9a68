"""Two real processes with half a batch each do what one does with the whole, for every loss of two towers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gather_tower_processes import every_kind, launched

PROGRAM = Path(__file__).with_name("gather_tower_processes.py")


def run(devices: int, out: Path) -> dict:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(devices), str(out)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


@pytest.mark.slow
def test_two_real_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    single, double = every_kind(launched(1)), run(2, tmp_path / "two.json")
    for kind in ("clip", "siglip", "coca", "flair", "convirt"):
        one, full, apart = single[f"{kind}/full"], double[f"{kind}/full"], double[f"{kind}/none"]
        for name, change in one["change"].items():
            assert np.allclose(full["change"][name], change, atol=1e-5), (kind, name)
        assert not np.allclose(apart["change"]["image.weight"], one["change"]["image.weight"], atol=1e-3), kind
        for name in set(one["terms"]) - {"grad_norm"}:
            assert full["terms"][name] == pytest.approx(one["terms"][name], abs=1e-5), (kind, name)

"""Published figures of drawn scans: which claims, which variant is held against which figure."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medfm.core.errors import EvaluationError
from medfm.encoders.registry import get_card
from medfm.evaluation.predictions import Predictions
from medfm.evaluation.protocol import load_protocol
from medfm.evaluation.similarity_summary import summarise_similarity
from medfm.reporting.result import Result
from medfm.workflows import reproduce_drawing
from medfm.workflows.reproduce import claims_of, run_claims
from medfm.workflows.reproduce_drawing import draws, run_drawing
from medfm.workflows.reproduce_verdict import judge, variant_of

CLAIMS = claims_of(get_card("ldae-brain-mri").spec.results, (), "ldae-brain-mri")
DRAWN = [claim for claim in CLAIMS if draws(claim)]


def result(protocol: str, values: dict[str, float]) -> Result:
    """A result whose variants have these SSIM, with an MSE of a fortieth of what is missing to 1."""
    plan = load_protocol(protocol, overrides=("statistics.resamples=20",))
    rng = np.random.default_rng(0)
    rows = [
        {"record_id": f"r{i}", "patient_id": f"p{i // 2}", "variant": variant, "repeat": 0, "fold": 0,
         "ssim": value + noise, "ssim_w11": value, "psnr": 30.0, "mse": (1 - value) / 40}
        for variant, value in values.items()
        for i, noise in enumerate(rng.normal(0, 1e-3, 8))
    ]  # fmt: skip
    predictions = Predictions(pd.DataFrame(rows), "similarity", ("ssim", "ssim_w11", "psnr", "mse"), "reconstruction")
    summary = summarise_similarity(predictions, plan.statistics, ("ssim", "ssim_w11", "psnr", "mse"))
    return Result(
        plan.method.kind, plan, summary, predictions, {"encoder": "ldae-brain-mri", "weights_kind": "published"}
    )


RECONSTRUCTION = {
    "main": 0.962, "steps=10": 0.953, "steps=20": 0.96, "steps=50": 0.93, "semantic, steps=10": 0.872,
    "semantic, steps=20": 0.871, "semantic, steps=50": 0.87, "semantic, steps=100": 0.869, "autoencoder": 0.962,
}  # fmt: skip


def test_which_claims_of_the_card_are_drawn():
    protocols = {claim.protocol for claim in DRAWN}
    assert protocols == {"ldae-reconstruction@1", "ldae-interpolation@1"}
    assert {c.protocol for c in CLAIMS if not draws(c)} == {"ldae-linear@1", "brain-age@1"}


def test_every_claim_finds_its_variant():
    made = result("ldae-reconstruction@1", RECONSTRUCTION)
    for claim in DRAWN:
        if claim.protocol == "ldae-reconstruction@1":
            assert variant_of(claim, made) == ("main" if claim.variant == "steps=100" else claim.variant)


def test_verdicts_per_figure():
    made = result("ldae-reconstruction@1", RECONSTRUCTION)
    verdicts = {(c.metric, c.variant): judge(c, made) for c in DRAWN if c.protocol == "ldae-reconstruction@1"}
    assert verdicts["ssim", "steps=100"].verdict == verdicts["ssim", "semantic, steps=20"].verdict == "reproduced"
    assert verdicts["ssim", "autoencoder"].verdict == "reproduced"
    off = verdicts["ssim", "steps=50"]
    assert off.verdict == "not reproduced" and off.measured == pytest.approx(0.93, abs=2e-3)
    assert verdicts["mse", "steps=100"].verdict == "reproduced"
    lpips = verdicts["lpips", "steps=20"]
    assert lpips.verdict == "could not run" and "LPIPS is not computed" in lpips.reason


def test_missing_scans_by_gap():
    made = result("ldae-interpolation@1", {"main": 0.95, "gap=6": 0.968, "gap=24": 0.94})
    outcomes = {(c.metric, c.variant): judge(c, made) for c in DRAWN if c.protocol == "ldae-interpolation@1"}
    assert outcomes["ssim", "gap=6"].verdict == "reproduced"
    assert outcomes["mse", "gap=6"].verdict == "not reproduced"
    assert outcomes["ssim", "gap=24"].verdict == "not sourced"
    with pytest.raises(EvaluationError, match="no variant 'gap=6'"):
        variant_of(next(c for c in DRAWN if c.variant == "gap=6"), result("ldae-interpolation@1", {"main": 0.9}))


def test_one_run_serves_all_claims_of_a_protocol(monkeypatch):
    asked = []
    monkeypatch.setattr(
        reproduce_drawing, "load_system", lambda *a, **k: SimpleNamespace(encoder=SimpleNamespace(id="e"), **k)
    )
    monkeypatch.setattr(
        reproduce_drawing, "reconstruct",
        lambda system, cohort, protocol, **k: (asked.append((cohort, protocol, system.weights, k["allow"])), result(protocol, RECONSTRUCTION))[1],
    )  # fmt: skip
    site = SimpleNamespace(
        card="ldae-brain-mri", weights="random", device="cpu", allow=("L001",), progress=None, cohort=lambda n: n
    )
    claims = [c for c in DRAWN if c.protocol == "ldae-reconstruction@1"]
    outcomes = run_claims(claims, lambda claim: run_drawing(site, claim))  # type: ignore[arg-type]
    parts = dict.fromkeys(("encoder", "autoencoder", "denoiser"), "random")
    assert asked == [("adni", "ldae-reconstruction@1", parts, ("L001",))] and len(outcomes) == len(claims)

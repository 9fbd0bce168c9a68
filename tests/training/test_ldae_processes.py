"""LDAE in two processes, whole or in shares, against arithmetic done in one; all runs share one pair of processes."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ldae_parts import BACK, STAGES, VALIDATION, make_stage, recipe, records, steps_by_hand
from lightning_fabric import Fabric
from tiny_ldae import shaken, tiny_card

from medfm.encoders.ldae.load import build_part
from medfm.training.ldae_latents import compute_latents
from medfm.training.ldae_stage import Draw

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = Path(__file__).with_name("ldae_processes.py")
# The losses of two processes are means of float32 sums in another order.
CLOSE = {"rtol": 2e-4, "atol": 2e-6}
# A fraction of a minute on a free core; processes that wait for each other suffer more than others on a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found (ldae_processes.py); the second is killed at the end."""
    folder, port = tmp_path_factory.mktemp("processes"), free_port()
    started = []
    for rank in range(2):
        (folder / str(rank)).mkdir()
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        own |= {"GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        own |= {"TORCHELASTIC_RUN_ID": "test", "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
        with (folder / f"{rank}.log").open("wb") as log:
            command = [sys.executable, str(PROGRAM), str(folder)]
            started.append(subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log))
    try:
        codes = [process.wait(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0, -9], (folder / "0.log").read_text()[-3000:] + (folder / "1.log").read_text()[-3000:]
    results = [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(2)]
    results[0]["alone"] = torch.load(folder / "alone-0.pt", weights_only=True)
    return results


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory):
    return tiny_card(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def one() -> Fabric:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


def by_hand(card, one: Fabric, stage: str, **values: Any) -> tuple[Any, float]:
    config = recipe(stage, **values)
    made = make_stage(card, records(card), config)
    made.setup(one)
    (loss,) = steps_by_hand(made, config, one, 1, 2)
    return made, loss


def close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def moments(state: dict[str, Any], which: int = 0) -> dict[int, torch.Tensor]:
    """Adam's first moments: after one step a tenth of the gradient, whatever its size."""
    optimizer = state["optimizers"][which] if "optimizers" in state else state["optimizer"]
    return {number: entry["exp_avg"] for number, entry in optimizer["state"].items()}


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_step_as_one_with_the_same_records(found, card, one, stage, strategy):
    made, loss = by_hand(card, one, stage)
    result, expected = found[0][f"{stage}-{strategy}"], made.state()
    assert result["terms"]["total"] == pytest.approx(loss, rel=1e-5)
    assert found[1][f"{stage}-{strategy}"]["terms"] == result["terms"]
    for which in range(2 if stage == "autoencoder" else 1):
        close(moments(expected, which), moments(result["state"], which), **CLOSE)
    # Adam turns a gradient of 1e-9 into a step of the full rate, 1e-4, in a direction that rounding decides.
    close(expected["model"], result["state"]["model"], rtol=0, atol=2.1e-4)
    different = [(expected["model"][k] - v).abs().max() > 2e-5 for k, v in result["state"]["model"].items()]
    assert sum(different) <= 0.1 * len(different)
    if stage != "autoencoder":
        close(expected["average"], result["state"]["average"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_shares_give_the_weights_of_whole_networks(found, stage):
    whole, shares = (found[0][f"{stage}-{strategy}"] for strategy in ("ddp", "fsdp"))
    assert whole["terms"].keys() == shares["terms"].keys()
    for name, value in whole["terms"].items():
        assert shares["terms"][name] == pytest.approx(value, rel=1e-4)
    close(moments(whole["state"]), moments(shares["state"]), **CLOSE)
    for name, value in whole["judged"].items():
        assert shares["judged"][name] == pytest.approx(value, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_each_process_holds_a_share(found, stage):
    for strategy, part in (("ddp", 1.0), ("fsdp", 0.5)):
        shares = [results[f"{stage}-{strategy}"]["share"] for results in found]
        # Tensors with an odd number of rows, such as one of a single row, cannot be halved.
        assert all(share == pytest.approx(part, abs=0.08) for share in shares)
        assert sum(shares) == pytest.approx(2 * part)


@pytest.mark.parametrize("stage", STAGES)
def test_gathered_states_are_whole_and_only_the_first_process_keeps_them(found, card, stage):
    first, second = (results[f"{stage}-fsdp"]["state"] for results in found)
    config = recipe(stage)
    made = make_stage(card, records(card), config)
    made.load_state(copy.deepcopy(first))  # A stage in one process takes it, weights, moments and averages.
    own = made.loss if stage != "autoencoder" else made.compression
    close(first["model"], own.state_dict(), rtol=0, atol=0)
    assert all(type(tensor) is torch.Tensor for tensor in first["model"].values())
    missing = [value is None for value in second["model"].values()]
    # Buffers are whole everywhere.
    assert all(
        gone for gone, name in zip(missing, second["model"], strict=True) if name in dict(own.named_parameters())
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_in_shares_goes_on_in_whole_networks(found, card, one, stage):
    """The next step from the gathered state, against the same done by hand."""
    config = recipe(stage)
    made = make_stage(card, records(card), config)
    made.load_state(copy.deepcopy(found[0][f"{stage}-fsdp"]["state"]))
    made.setup(one)
    (loss,) = steps_by_hand(made, config, one, 1, 2, first=1)
    assert found[0][f"{stage}-on"]["terms"]["total"] == pytest.approx(loss, rel=1e-5)
    close(moments(made.state()), moments(found[0][f"{stage}-on"]["state"]), **CLOSE)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_judged_does_not_depend_on_the_number_of_processes(found, card, one, stage, strategy):
    """Three records in two processes, with the weights that these have now."""
    result = found[0][f"{stage}-{strategy}"]
    assert found[1][f"{stage}-{strategy}"]["judged"] == result["judged"]
    made = make_stage(card, records(card), recipe(stage))
    made.load_state(copy.deepcopy(result["state"]))
    made.setup(one)
    again = made.judge()
    assert again.keys() == result["judged"].keys() and len(VALIDATION) == 3
    for name, value in again.items():
        assert result["judged"][name] == pytest.approx(value, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_every_process_ends_with_the_whole_kept_weights(found, stage):
    for results in found:
        for strategy in ("ddp", "fsdp"):
            result = results[f"{stage}-{strategy}"]
            (kept,) = result["kept"].values()
            assert all(torch.equal(result["ends"][name], tensor) for name, tensor in kept.items())


def test_the_published_flaw_is_the_same_in_two_processes(found, card, one):
    flaw = {"discriminator": {"channels": 4, "layers": 1, "learns_from": "both_losses"}}
    made, _ = by_hand(card, one, "autoencoder", **flaw)
    close(moments(made.state(), 1), moments(found[0]["flaw"]["state"], 1), **CLOSE)
    clean = moments(found[0]["autoencoder-ddp"]["state"], 1)
    assert any(not torch.allclose(clean[k], v, rtol=1e-2) for k, v in moments(found[0]["flaw"]["state"], 1).items())


def test_mixed_precision_and_checkpointing_in_shares(found, card):
    config = recipe("latent", precision="bf16-mixed", checkpointing=True, accumulate=1)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    fabric.launch()
    made = make_stage(card, records(card), config)
    made.setup(fabric)
    (loss,) = steps_by_hand(made, config, fabric, 1, 2)
    assert found[0]["bf16"]["total"] == pytest.approx(loss, rel=1e-2)
    full = make_stage(card, records(card), recipe("latent", accumulate=1))
    full.setup(Fabric(accelerator="cpu", devices=1))
    exact = full.step(full.fabric, [[0]], Draw(0, 0, 0))["total"]
    assert found[0]["bf16"]["total"] != float(exact)


def test_a_signal_to_one_process_stops_both_and_the_run_goes_on_in_shares(found):
    for results in found:
        resumed = results["resumed"]
        assert resumed["stopped"] and resumed["whole"]["first"] == 0 and resumed["run"]["first"] == 1
        assert resumed["run"]["epoch"] == resumed["whole"]["epoch"] == 1
        close(resumed["whole"]["model"], resumed["run"]["model"], rtol=0, atol=2e-5)


def test_latents_are_shared_out_and_written_once(found, card):
    volumes = records(card)
    alone = compute_latents(shaken(build_part(card, "autoencoder", 0)), volumes, BACK, torch.device("cpu"))
    for results in found:
        torch.testing.assert_close(results["latents"]["mean"], alone.mean)
        torch.testing.assert_close(results["latents"]["sigma"], alone.sigma)
        torch.testing.assert_close(results["one"], alone.mean[:1])
        assert results["files"] == ["f" * 32 + ".safetensors", "k" * 32 + ".safetensors"]


def test_a_killed_process_does_not_leave_the_other_waiting(found):
    alone = found[0]["alone"]
    assert "Another process of this run has ended" in alone["text"] and "--resume" in alone["text"]
    assert alone["seconds"] < 60

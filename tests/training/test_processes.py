"""Who looks at which record, which strategy a machine gets, and what ends all processes of a run."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric.strategies import DDPStrategy

import medfm.training.processes as processes
from medfm.core.config import build
from medfm.core.errors import ConfigError, TrainingError
from medfm.training.checkpoint import check_same_run
from medfm.training.config import Machine
from medfm.training.finetune_config import FinetuneMachine
from medfm.training.ldae_config import LatentRecipe
from medfm.training.loop import make_fabric
from medfm.training.processes import collected, in_range, one_fate, own_rows, strategy_of
from medfm.training.sharding import ShardedStrategy


def machine(**values) -> Machine:
    return build(Machine, {"accelerator": "cpu", **values}, where="test")


class Together:
    """What Fabric does in `world` processes: adds up what each of them hands in, in turn."""

    def __init__(self, world: int, rank: int, of_others: list[torch.Tensor]) -> None:
        self.world_size, self.global_rank, self.device = world, rank, torch.device("cpu")
        self.of_others = of_others

    def all_reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        return tensor + sum(self.of_others)


class Noting(Together):
    """Keeps what one process hands in."""

    def all_reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        self.handed = tensor.clone()
        return tensor


@given(st.integers(1, 40), st.integers(1, 7))
def test_all_records_are_looked_at_by_equally_busy_processes(count, world):
    rows = [own_rows(count, rank, world) for rank in range(world)]
    assert len({len(own) for own in rows}) == 1
    taken = [row for own in rows for row in own if row < count]
    assert sorted(taken) == list(range(count))
    assert all(0 <= row < count for own in rows for row in in_range(own, count))
    if world == 1:
        assert rows[0] == in_range(rows[0], count) == list(range(count))


@given(st.integers(1, 20), st.integers(1, 5), st.integers(0, 99))
def test_values_are_put_together_in_the_order_of_the_records(count, world, seed):
    wanted = torch.randn(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    handed, rows = [], [own_rows(count, rank, world) for rank in range(world)]
    values = [[[float(line[row]) for row in in_range(own, count)] for line in wanted] for own in rows]
    for rank in range(world):
        noting = Noting(world, rank, [])
        found = collected(noting, rows[rank], values[rank], count)
        handed.append(torch.tensor(found, dtype=torch.float64))
    for rank in range(world):
        others = [part for i, part in enumerate(handed) if i != rank]
        together = Together(world, rank, others) if world > 1 else noting
        # Exactly: every value comes from one process, the others add nothing.
        assert collected(together, rows[rank], values[rank], count) == wanted.tolist()


def test_a_record_beyond_the_end_does_not_count():
    noting = Noting(2, 1, [])
    assert own_rows(3, 1, 2) == [1, 3] and in_range([1, 3], 3) == [1, 0]
    assert collected(noting, [1, 3], [[5.0, 99.0]], 3) == [[0.0, 5.0, 0.0]]


def test_strategies():
    assert strategy_of(machine(), "32-true") == "auto"
    assert strategy_of(machine(strategy="fsdp"), "16-mixed") == "auto"  # One process has nothing to share.
    whole = strategy_of(machine(devices=2), "16-mixed")
    assert isinstance(whole, DDPStrategy) and not isinstance(whole, ShardedStrategy)
    assert isinstance(strategy_of(machine(devices=2, strategy="fsdp"), "bf16-mixed"), ShardedStrategy)
    with pytest.raises(TrainingError, match="does not go with float16") as error:
        strategy_of(machine(devices=2, strategy="fsdp"), "16-mixed")
    assert "precision=bf16-mixed" in str(error.value)


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    auto = build(Machine, {"devices": 4}, where="test")
    with pytest.raises(TrainingError, match="4 CUDA devices are asked for; this machine has 2") as error:
        strategy_of(auto, "32-true")
    assert "machine.devices=2" in str(error.value)
    assert isinstance(strategy_of(machine(devices=4), "32-true"), DDPStrategy)  # On processors there is no limit.


def test_other_families_keep_whole_networks():
    with pytest.raises(TrainingError, match="recipes of the family ldae") as error:
        make_fabric(machine(devices=2, strategy="fsdp"))
    assert "machine.strategy=ddp" in str(error.value)


def test_settings_of_a_machine():
    assert machine().strategy == "ddp"
    for wrong in ({"strategy": "deepspeed"}, {"devices": 0}):
        with pytest.raises(ConfigError):
            machine(**wrong)


def test_a_run_goes_on_under_another_strategy_but_not_in_another_number_of_processes():
    def identity(**values):
        changes = {"name": "t", "stage": "latent", "epochs": 1, "batch_size": 1, "machine": values}
        return {"recipe": build(LatentRecipe, changes, where="test").procedure()}

    saved = identity(devices=2, strategy="fsdp")
    check_same_run(saved, identity(devices=2), "last.ckpt")
    with pytest.raises(TrainingError, match="another run") as error:
        check_same_run(saved, identity(devices=1), "last.ckpt")
    assert "recipe.devices: 2 there, 1 now" in str(error.value)


def test_finetuning_runs_in_one_process():
    assert build(FinetuneMachine, {"devices": 1}, where="test") == FinetuneMachine()
    with pytest.raises(ConfigError, match="fine-tuning runs in one process"):
        build(FinetuneMachine, {"devices": 2}, where="test")
    with pytest.raises(ConfigError):
        build(FinetuneMachine, {"devics": 1}, where="test")


@pytest.mark.parametrize(
    "text",
    [
        "[../gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:11428: Connection reset by peer.",
        "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3172",
        "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3) ran for 600 milliseconds",
        "NCCL error: remote process exited or there was a network error",
    ],
)
def test_another_process_that_is_gone_is_said_in_plain_words(text):
    with pytest.raises(TrainingError, match="Another process of this run has ended") as error, one_fate(2):
        raise RuntimeError(text)
    assert "--resume" in str(error.value) and text in str(error.value.__cause__)
    # One process has no others: its error is its own.
    with pytest.raises(RuntimeError, match=r"pair|NCCL"), one_fate(1):
        raise RuntimeError(text)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes") as error, one_fate(2):
        raise RuntimeError("shapes do not fit")
    assert not isinstance(error.value, TrainingError)
    with pytest.raises(TrainingError, match="own words"), one_fate(2):
        raise TrainingError("In its own words.")
    with pytest.raises(KeyboardInterrupt), one_fate(2):
        raise KeyboardInterrupt


def fabric_of(world: int, rank: int, externally: bool) -> SimpleNamespace:
    environment = SimpleNamespace(creates_processes_externally=externally)
    strategy = SimpleNamespace(cluster_environment=environment)
    return SimpleNamespace(world_size=world, global_rank=rank, strategy=strategy, launch=lambda: None)


@pytest.mark.parametrize(
    ("world", "rank", "externally", "watches"),
    [(1, 0, False, False), (2, 0, False, False), (2, 1, False, True), (2, 1, True, False)],
)
def test_only_processes_started_by_the_first_one_watch_it(monkeypatch, world, rank, externally, watches):
    started = []
    monkeypatch.setattr(processes, "_leave_with", lambda parent: started.append(parent))
    monkeypatch.setattr(processes.os, "getppid", lambda: 4711)
    processes.launch(fabric_of(world, rank, externally))
    assert started == ([4711] if watches else [])


def test_a_process_ends_after_its_parent(monkeypatch):
    """The parent is there twice, then the process belongs to another."""
    parents, ended = iter([10, 10, 1, 1]), []
    monkeypatch.setattr(processes.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(processes.os, "kill", lambda pid, number: ended.append(number))
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    processes._leave_with(10)
    assert ended == [signal.SIGKILL] and next(parents) == 1

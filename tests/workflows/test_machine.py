"""What the doctor says about the machine."""

import importlib.util
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from medfm.workflows import machine
from medfm.workflows.machine import Finding, available_memory, check_machine


def finding(topic: str) -> Finding:
    return next(f for f in check_machine() if f.topic == topic)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(machine, "find_spec", lambda name: None if name in names else real(name))


def test_topics():
    topics = [f.topic for f in check_machine()]
    assert len(topics) == len(set(topics))
    assert {"python", "packages", "torch", "cores", "memory", "cache folder", "disk", "network", "extra umap"} <= set(
        topics
    )


def test_this_machine_passes_what_it_must():
    assert finding("python").state == finding("packages").state == "PASS"


def test_an_old_python_fails(monkeypatch):
    monkeypatch.setattr(machine.sys, "version_info", (3, 9, 1))
    assert finding("python").state == "FAIL" and "3.10" in finding("python").fix


def test_a_missing_package_fails(monkeypatch):
    without(monkeypatch, "timm", "PIL")
    line = finding("packages")
    assert line.state == "FAIL" and "timm, PIL" in line.text


def test_without_torch_the_doctor_still_speaks(monkeypatch):
    without(monkeypatch, "torch")
    assert "torch" not in [f.topic for f in check_machine()]


def test_a_missing_extra_is_no_fault(monkeypatch):
    without(monkeypatch, "umap")
    line = finding("extra umap")
    assert line.state == "PASS" and "medfm[umap]" in line.fix and "not installed" in line.text


def test_one_core_is_a_warning(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert finding("cores").state == "WARN"
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert finding("cores").text == "3 usable" and finding("cores").state == "PASS"


@pytest.mark.parametrize(("amount", "state"), [(1 << 30, "WARN"), (8 << 30, "PASS"), (None, "WARN")])
def test_memory(monkeypatch, amount, state):
    monkeypatch.setattr(machine, "available_memory", lambda: amount)
    assert finding("memory").state == state


def test_available_memory_is_plausible():
    amount = available_memory()
    assert amount is None or 1 << 20 < amount < 1 << 50


@pytest.mark.parametrize(("free", "state"), [(1 << 20, "WARN"), (1 << 40, "PASS")])
def test_disk(monkeypatch, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert finding("disk").state == state


def test_the_cache_folder_need_not_exist_and_is_not_created(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "a" / "b"))
    line = finding("cache folder")
    assert line.state == "PASS" and "will be created" in line.text
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path / "file" / "cache"))
    line = finding("cache folder")
    assert line.state == "FAIL" and "MEDFM_CACHE" in line.fix


def test_the_weights_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path))
    assert finding("weights folder").state == "PASS"
    monkeypatch.setenv("MEDFM_WEIGHTS", str(tmp_path / "none"))
    assert finding("weights folder").state == "WARN"


def test_offline_is_said(monkeypatch):
    monkeypatch.setenv("MEDFM_OFFLINE", "1")
    assert finding("network").text.startswith("offline")
    monkeypatch.delenv("MEDFM_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "downloads allowed" in finding("network").text


def test_a_graphics_card_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")
    assert finding("torch").text.endswith("Card 0, Card 1")


def test_the_home_folder_is_the_default(monkeypatch):
    monkeypatch.delenv("MEDFM_CACHE")
    assert str(Path.home()) in finding("cache folder").text

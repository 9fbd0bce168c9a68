"""Names, hashing, randomness, extras, resources, offline mode, environment."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medfm.core import environment, hashing, names, offline, randomness, resources
from medfm.core.errors import ConfigError, MissingExtraError, UnknownNameError
from medfm.core.extras import import_extra


def test_near_names_ignore_case() -> None:
    assert names.nearest("DinoBlom-B", ["dinobloom-b", "reddino-base"], count=1) == ["dinobloom-b"]


def test_unknown_name_error() -> None:
    error = names.unknown_name("encoder", "reddino-bas", ["reddino-base", "dinobloom-b"])
    assert isinstance(error, UnknownNameError)
    assert "no encoder named 'reddino-bas'" in str(error)
    assert "did you mean 'reddino-base'" in str(error)


def test_did_you_mean_lists_all_when_none_is_near() -> None:
    assert names.did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert names.did_you_mean("zzz", []) == "none is known here"
    many = names.did_you_mean("zzz", [f"r{i:04}" for i in range(1200)])
    assert many.startswith("known: r0000, r0001") and many.endswith("r0049 and 1,150 more") and len(many) < 500
    assert names.did_you_mean("zzz", [f"r{i:02}" for i in range(50)]).endswith("r49")


def test_file_hash_equals_hashlib(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than one chunk
    (tmp_path / "a").write_bytes(data)
    assert hashing.sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest() == hashing.sha256_bytes(data)


def test_json_hash_ignores_order_and_refuses_nan() -> None:
    assert hashing.sha256_json({"a": 1, "b": [2]}) == hashing.sha256_json({"b": [2], "a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        hashing.sha256_json({"a": float("nan")})


def test_tensor_hash_sees_names_dtypes_shapes_and_values() -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    base = hashing.sha256_tensors(state)
    assert base == hashing.sha256_tensors({"b": torch.tensor(1), "a": torch.arange(6.0).reshape(2, 3)})
    assert base == hashing.sha256_tensors({**state, "a": state["a"].t().contiguous().t()})
    for changed in (
        {"c": state["a"], "b": state["b"]},
        {**state, "a": state["a"].double()},
        {**state, "a": state["a"].reshape(3, 2)},
        {**state, "a": state["a"] + 1e-7},
        {"a": state["a"]},
        {**state, "e": torch.zeros(0)},
    ):
        assert hashing.sha256_tensors(changed) != base


def test_bfloat16_can_be_hashed() -> None:
    assert len(hashing.sha256_tensors({"a": torch.ones(3, dtype=torch.bfloat16)})) == 64


def test_generators_repeat_and_leave_global_state_alone() -> None:
    before = np.random.get_state()[1].copy()
    a, b = randomness.generator(3), randomness.generator(3)
    assert a.random() == b.random()
    assert torch.equal(
        torch.rand(3, generator=randomness.torch_generator(a)), torch.rand(3, generator=randomness.torch_generator(b))
    )
    assert (np.random.get_state()[1] == before).all()


def test_missing_extra_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'medfm\[slides\]'"):
        import_extra("no_such_module_at_all", "slides", "Reading slides")
    assert import_extra("json", "none", "JSON") is json


def test_shipped_folders_exist() -> None:
    assert (resources.data_folder("configs") / "protocols").is_dir()
    with pytest.raises(ConfigError, match="lacks its folder 'nothing'"):
        resources.data_folder("nothing")


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("MEDFM_OFFLINE", value)
    assert offline.is_offline() is expected


def test_environment_names_no_machine_or_user() -> None:
    import getpass
    import platform

    text = json.dumps([environment.software(), environment.hardware()])
    assert "torch" in text and "python" in text
    assert platform.node() not in text or len(platform.node()) < 3
    assert f'"{getpass.getuser()}"' not in text

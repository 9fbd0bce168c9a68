"""Fixtures shared by all tests: offline always, real data where it is present."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from process_state import left_behind, snapshot

# Before anything imports a hub client: no test needs a network.
os.environ["MEDFM_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# A shell starts what it puts in the background with Ctrl-C ignored, and children inherit that; tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("medfm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medfm")

_CACHES = itertools.count()

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names bytes by their length: processes that run the tests side by side must name them alike.

    Bytes may differ between two processes, as those of a gzip file that holds the second it was made in.
    """
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a test marked ``slow`` come first, else in order: what takes minutes must not be left for the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What was loaded stays to the end: the garbage collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries that count what is left of them at the end find nothing."""
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """A file that changes its process for those after it fails: which files share a process is chance."""
    before = snapshot()
    yield
    lines = left_behind(before, snapshot())
    if lines:
        pytest.fail(f"{request.path.name} leaves its process otherwise than it found it:\n  " + "\n  ".join(lines))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any connection to another machine fails; loopback and local sockets stay usable."""
    real_connect = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if isinstance(address, tuple) and host not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach the network: {address!r}")
        real_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own embedding store and weights folder, made when something is written into it.

    Not by ``mktemp``, which lists all folders made before it: with thousands of tests that alone takes minutes.
    """
    monkeypatch.setenv("MEDFM_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / f"cache-{next(_CACHES)}"))
    monkeypatch.delenv("MEDFM_WEIGHTS", raising=False)
    monkeypatch.delenv("MEDFM_CARDS", raising=False)


@pytest.fixture(scope="session")
def blood_cells() -> Path:
    """The folder of real blood cells; tests that need it skip only where it is absent."""
    folder = SHARED / "data" / "blood_cell"
    if not folder.is_dir():
        pytest.skip("the real blood cells beside the repository are absent")
    return folder

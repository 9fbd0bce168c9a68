from __future__ import annotations

import pytest
from embedding_fakes import TinyEncoder, make_cohort


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def encoder():
    return TinyEncoder()


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path / "images", 21)

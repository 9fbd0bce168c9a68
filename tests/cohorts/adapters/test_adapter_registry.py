import pytest

from medfm.cohorts.adapters import all_aliases, get_adapter, list_adapters
from medfm.cohorts.adapters.base import Adapter
from medfm.core.errors import UnknownNameError


def test_the_list_is_sorted_and_every_id_is_its_adapters_own() -> None:
    names = list_adapters()
    assert names == sorted(names)
    assert [get_adapter(name).id for name in names] == names
    assert all(isinstance(get_adapter(name), Adapter) for name in names)


def test_an_adapter_is_built_once() -> None:
    assert get_adapter("bmc") is get_adapter("bmc")


def test_wrong_names_are_refused_with_near_ones() -> None:
    for wrong, near in (("chula", "chula_rbc12"), ("rabin", "raabin"), ("aml-hehr", "aml_hehr")):
        with pytest.raises(UnknownNameError, match=near):
            get_adapter(wrong)


def test_aliases_start_with_the_id_and_the_title() -> None:
    for name, aliases in zip(list_adapters(), all_aliases(), strict=True):
        assert aliases[:2] == (name, get_adapter(name).title)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acevedo", {"total": 17092}),
        ("bmc", {"total": 171373}),
        ("raabin", {"train": 10175, "test": 4339}),
        ("aml_hehr", {"patients": 189}),
        ("chula_rbc12", {"smears": 738}),
        ("elsafty", {"total": 240507}),
        ("bccd", {"smears": 364}),
    ],
)
def test_published_counts(name: str, expected: dict[str, int]) -> None:
    assert expected.items() <= dict(get_adapter(name).expected).items()

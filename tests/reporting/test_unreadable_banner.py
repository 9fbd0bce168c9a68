"""Records that could not be read are said in the banners of every kind of result, fine-tuning included."""

from __future__ import annotations

import pytest

from medfm.reporting.banners import Banner, banners


def told(made) -> list[Banner]:
    return [banner for banner in banners(made) if banner.title == "Unreadable records"]


@pytest.mark.parametrize("kind", ["finetune", "probe"])
@pytest.mark.parametrize(("lost", "said"), [(1, "1 record could not be embedded and is"), (3, "3 records could not be embedded and are")])  # fmt: skip
def test_the_number_of_lost_records_is_said(make, kind, lost, said):
    gone = [{"record_id": f"r{i}", "reason": "the file ends early"} for i in range(lost)]
    (banner,) = told(make(kind=kind, provenance={"weights_kind": "published", "failures": gone}, findings=()))
    assert banner.level == "caution" and said in banner.text and "missing from every figure" in banner.text


@pytest.mark.parametrize("nothing", [[], None])
def test_no_lost_record_no_banner(make, nothing):
    assert told(make(provenance={"weights_kind": "published", "failures": nothing}, findings=())) == []


def test_reasons_with_their_ids_stay_out_of_the_banner(make):
    """The page lists them further down; a banner is read aloud."""
    gone = [{"record_id": "secret-7", "reason": "damaged"}]
    (banner,) = told(make(provenance={"weights_kind": "published", "failures": gone}, findings=()))
    assert "secret-7" not in banner.text

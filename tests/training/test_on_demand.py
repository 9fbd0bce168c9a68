"""A record that cannot be read while training goes on ends it with what to do, never with what the file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfm.core.errors import ReadError, TrainingError
from medfm.modalities.record import RecordRef
from medfm.training.on_demand import read_while_training

REF = RecordRef("r7", Path("somewhere/a.png"))


@pytest.mark.parametrize(("what", "said"), [("record", "A record cannot be read"), ("picture", "A picture cannot be")])
def test_the_error_names_the_record_and_the_way_on(what: str, said: str) -> None:
    with pytest.raises(TrainingError, match=said) as caught, read_while_training(REF, what):
        raise ReadError("The file ends early.", where="somewhere/a.png")
    assert "The file ends early." in caught.value.what and caught.value.where == "record r7"
    assert "then resume" in str(caught.value.fix) and isinstance(caught.value.__cause__, ReadError)
    assert "somewhere" not in str(caught.value)


def test_what_is_read_passes_and_other_errors_stay_themselves() -> None:
    with read_while_training(REF):
        found = 3
    assert found == 3
    with pytest.raises(KeyError), read_while_training(REF):
        raise KeyError("x")

"""Settings of a retrieval protocol."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medfm.core.config import StrictConfig

Direction = Literal["record_to_text", "text_to_record", "record_to_record"]


class Retrieval(StrictConfig):
    """Search by cosine: every query ranks all candidates; nothing is fitted."""

    kind: Literal["retrieval"] = "retrieval"
    directions: tuple[Direction, ...] = Field(
        ("record_to_text", "text_to_record"), min_length=1, description="what is searched with what"
    )
    k: tuple[Literal[1, 5, 10, 20, 50, 100, 200], ...] = Field(
        (1, 5, 10), min_length=1, description="depths of R@k and P@k"
    )
    texts: Literal["grouped", "one_to_one"] = Field(
        "grouped",
        description="grouped: equal texts are one text, and all their records are right; "
        "one_to_one: only the record's own text is right, as papers count",
    )
    exclude: Literal["patient", "self"] = Field(
        "patient", description="record_to_record: whose records are not searched besides the query itself"
    )
    index: Literal["auto", "exact", "faiss"] = Field(
        "auto",
        description="exact: all ranks; faiss: the nearest only, approximate, with its recall measured; "
        "auto: exact up to 10^10 pairs of query and candidate, above that faiss where it is installed",
    )
    split: Literal["test_or_all", "all"] = Field(
        "test_or_all", description="the cohort's test split where it has one, or all records"
    )

    @model_validator(mode="after")
    def _each_once(self) -> Retrieval:
        for name in ("directions", "k"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} names something twice")
        return self

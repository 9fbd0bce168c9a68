"""What a report says of the way a retrieval searched: exactly, or with an index and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass

from medfm.evaluation.retrieval_metrics import direction_words
from medfm.reporting.result import Result
from medfm.reporting.tables import Table
from medfm.reporting.words import count


@dataclass(frozen=True)
class SearchFacts:
    """How a result was searched.

    Attributes:
        depth: Places that were listed; ``None`` after an exact search.
        lines: Sentences for people.
        table: Recall and R@k of the sample, exact beside approximate; ``None`` after an exact search.
    """

    depth: int | None
    lines: tuple[str, ...] = ()
    table: Table | None = None

    @classmethod
    def of(cls, result: Result) -> SearchFacts:
        """Of a result, also of one from before results said how they were searched: those were exact."""
        search = result.extras.get("search") or {}
        if search.get("way") != "approximate":
            return cls(None)
        depth, directions = int(search["depth"]), dict(search["directions"])
        lines = [f"The search was approximate: the {depth} nearest as an index finds them, not an order of all."]
        rows = []
        for direction, trust in directions.items():
            for k, share in trust["recall"].items():
                exact, found = (trust[name].get(k) for name in ("hits_exact", "hits_found"))
                shown = ["–" if v is None else f"{v:.3f}" for v in (exact, found)]
                rows.append((direction_words(direction), k, f"{100 * share:.2f} %", *shown))
            lines.append(_settings(direction, trust))
        caption = "Recall is the share of the exact k nearest among the first k found, on a sample of the queries."
        header = ("direction", "k", "recall", "R@k of the sample, exact", "R@k of the sample, as found")
        return cls(depth, tuple(lines), Table(header, tuple(rows), caption))


def _settings(direction: str, trust: dict[str, object]) -> str:
    effort, shards, exactly = (int(str(trust[name])) for name in ("effort", "shards", "searched_exactly"))
    way = f"HNSW, efSearch {effort}" if effort else "all candidates looked at"
    said = (
        f"{direction_words(direction).capitalize()}: {trust['library']}, {way}, {count(shards, 'shard')}; measured on "
    )
    said += count(int(str(trust["sample"])), "query", "queries")
    return said + (f"; {count(exactly, 'query', 'queries')} searched exactly." if exactly else ".")

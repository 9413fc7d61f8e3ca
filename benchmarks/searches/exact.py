"""The right answers: every posting and every vector of the tenant looked at, whatever it takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from domain.shared.text import Analyzer, Embedder
from projections.definition import Generation
from queries.search.message import TEXT, VECTOR

_FOLDER = Path(__file__).parent
_CLOSE = 1e-6


@dataclass(frozen=True, slots=True)
class Best:
    """The scores of the best passages, and how many there are in all that match."""

    scores: tuple[float, ...]
    matching: int

    def share(self, scores: list[float]) -> float:
        """Return how many of the best are among passages with `scores`, 0 to 1: of equal ones, any will do."""
        if not self.scores:
            return 1.0
        return min(sum(score >= self.scores[-1] - _CLOSE for score in scores) / len(self.scores), 1.0)


class Exact:
    """Looks at everything, as a superuser without the search's own SQL."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        generations: dict[str, int],
        embedder: Embedder,
        analyzer: Analyzer,
    ) -> None:
        text, vector = Generation(TEXT, generations["text"]), Generation(VECTOR, generations["vector"])
        tables = text.tables(("chunks", "postings", "terms", "stats")) | vector.tables(("vectors",))
        self._statements = {
            mode: (_FOLDER / f"exact_{mode}.sql").read_text(encoding="utf-8").format(**tables)
            for mode in ("text", "vector")
        }
        self._connection = connection
        self._embedder = embedder
        self._analyzer = analyzer

    async def best(
        self, mode: Literal["text", "vector"], tenant: str, question: str, tag: str | None, limit: int
    ) -> Best:
        """Return the best `limit` passages for `question`."""
        (vector,) = await self._embedder.embed([question])
        parameters = {
            "tenant": tenant,
            "tag": tag,
            "limit": limit,
            "terms": sorted(set(self._analyzer.terms(question))),
            "embedding": str(list(vector)),
        }
        rows = await (await self._connection.execute(self._statements[mode], parameters)).fetchall()
        return Best(tuple(score for score, _ in rows), rows[0][1] if rows else 0)

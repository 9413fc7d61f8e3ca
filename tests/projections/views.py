"""The read models as the registry has them, and three ways to get each of them wrong."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection
from projections.registry import READ_MODELS
from projections.search.sources import SourceReader
from projections.search.text_leg import SearchTextLeg
from projections.search.vector_leg import SearchVectorLeg
from tests.projections.comparing import MAX_TOKENS
from varve.bootstrap import embedder, open_blobs, text_processes
from varve.settings import Settings
from workers.text_analyzer import TextAnalyzer
from workers.texts.search_texts import SearchTexts

Mutation = Callable[[type[Projection]], type[Projection]]


def read_models(
    settings: Settings, wake_embedder: Callable[[], None], mutation: Mutation = lambda same: same
) -> list[Projection]:
    """Every read model, each with its class passed through `mutation`."""
    texts = SearchTexts(text_processes(settings, MAX_TOKENS), open_blobs(settings))
    sources = SourceReader(texts)
    made_with: dict[type[Projection], tuple[Any, ...]] = {
        SearchTextLeg: (TextAnalyzer(), sources, texts),
        SearchVectorLeg: (embedder(settings).model, sources, wake_embedder),
    }
    mutated: list[tuple[Any, tuple[Any, ...]]] = [(mutation(each), made_with.get(each, ())) for each in READ_MODELS]
    return [projection(*arguments) for projection, arguments in mutated]


def dropping_every_50th_event(projection: type[Projection]) -> type[Projection]:
    class Dropping(projection):  # type: ignore[valid-type,misc]  # a class made of the one it is given
        def takes(self, recorded: RecordedEvent) -> bool:
            return recorded.position % 50 != 0 and super().takes(recorded)

    return Dropping


def ignoring_deletions(projection: type[Projection]) -> type[Projection]:
    class Ignoring(projection):  # type: ignore[valid-type,misc]  # a class made of the one it is given
        def takes(self, recorded: RecordedEvent) -> bool:
            return not type(recorded.event).__name__.endswith("Deleted") and super().takes(recorded)

    return Ignoring


def using_the_clock(projection: type[Projection]) -> type[Projection]:
    class Using(projection):  # type: ignore[valid-type,misc]  # a class made of the one it is given
        async def prepare(self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]) -> Any:
            return await super().prepare(connection, generation, _now(events))

        async def apply(
            self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
        ) -> None:
            await super().apply(connection, generation, _now(events), prepared)

    def _now(events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
        return [event._replace(recorded_at=datetime.now(UTC)) for event in events]

    return Using

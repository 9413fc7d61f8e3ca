"""The check of every read model: rebuilt and live rows equal each other, and a model that was written independently."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from psycopg.rows import class_row, dict_row

from domain.knowledge.content import DocumentContent
from domain.shared.text import Embedder
from projections.definition import Projection
from projections.generations import start_rebuild
from tests.model import LogEvent, model_of
from tests.projections.engines import Connection, live_generation, until_caught_up, until_live
from tests.projections.model import EVENTS, SearchModel, Tables, document_status, entry_list, user_activity
from varve.bootstrap import embedder, open_blobs, tokenizer
from varve.settings import Settings
from workers.passages import PassageCutter
from workers.text_analyzer import TextAnalyzer

MAX_TOKENS = 256
_ALIKE = 0.9999


async def log_events(admin: Connection) -> list[LogEvent]:
    cursor = admin.cursor(row_factory=class_row(LogEvent))
    await cursor.execute(EVENTS)
    return await cursor.fetchall()


async def search_model(settings: Settings, events: Sequence[LogEvent]) -> SearchModel:
    blobs = open_blobs(settings)

    async def of_document(tenant: str, sha256: str) -> Any:
        return DocumentContent.model_validate_json(await blobs.get_bytes(tenant, sha256)).passages

    cutter = PassageCutter(tokenizer(settings), MAX_TOKENS)
    return await SearchModel.of(events, of_entry=cutter.of_entry, of_document=of_document)


async def expected_tables(settings: Settings, admin: Connection) -> dict[str, Tables]:
    """Return what each read model must hold now, vectors aside."""
    events = await log_events(admin)
    model, search = model_of(events), await search_model(settings, events)
    return {
        "knowledge_entry_list": entry_list(model),
        "document_status": document_status(model),
        "user_activity": user_activity(model),
        "search_text": search.text_tables(TextAnalyzer().terms),
        "search_vector": search.vector_tables(),
    }


async def stored_tables(admin: Connection, projection: Projection, generation: int) -> Tables:
    """Return all rows of a generation."""
    cursor = admin.cursor(row_factory=dict_row)
    tables: Tables = {}
    for table in projection.TABLES:
        await cursor.execute(f"select * from read_models.{projection.NAME}_{generation}_{table}")
        tables[table] = await cursor.fetchall()
    return tables


async def disagreements(settings: Settings, admin: Connection, projections: Sequence[Projection]) -> set[str]:
    """Rebuild `projections` and return the tables whose live, rebuilt and expected rows are not all the same.

    An engine runs them, and something embeds for the vector leg.
    """
    names = [projection.NAME for projection in projections]
    await until_caught_up(admin, names)
    live = {projection.NAME: await _live_tables(admin, projection) for projection in projections}
    await rebuild(admin, projections)
    rebuilt = {projection.NAME: await _live_tables(admin, projection) for projection in projections}
    expected = await expected_tables(settings, admin)
    asked = embedder(settings)
    unlike = {
        f"{name}.{table}"
        for name in names
        for table in live[name]
        if lines_of(live[name][table]) != lines_of(rebuilt[name][table])
        or lines_of(live[name][table], without="embedding") != lines_of(expected[name][table])
    }
    texts = (await search_model(settings, await log_events(admin))).embedded_texts()
    if await least_cosine(live["search_vector"], texts, asked) < _ALIKE:
        unlike.add("search_vector.vectors")
    return unlike


async def rebuild(admin: Connection, projections: Sequence[Projection]) -> None:
    """Rebuild `projections`, which an engine runs, and wait until their new generations are read."""
    wanted = {}
    for projection in projections:
        async with admin.transaction():
            await admin.execute("set local role varve_projector")  # the owner of the tables
            generation = await start_rebuild(admin, projection)
        assert generation is not None
        wanted[projection.NAME] = generation.number
    for name, number in wanted.items():
        await until_live(admin, name, number)


async def least_cosine(tables: Tables, texts: Mapping[tuple[str, int], str], asked: Embedder) -> float:
    """Return the cosine of the stored vector that is least like the one of its text, -1 when one is missing."""
    stored = {(row["tenant"], row["chunk"]): json.loads(row["embedding"]) for row in tables["vectors"]}
    if set(stored) != set(texts):
        return -1.0
    computed = np.array(await asked.embed(list(texts.values())))
    found = np.array([stored[key] for key in texts])
    products = (computed * found).sum(axis=1)
    return float((products / np.linalg.norm(found, axis=1) / np.linalg.norm(computed, axis=1)).min())


async def _live_tables(admin: Connection, projection: Projection) -> Tables:
    return await stored_tables(admin, projection, await live_generation(admin, projection.NAME))


def lines_of(rows: Iterable[Mapping[str, Any]], without: str | None = None) -> list[str]:
    """Return rows as sorted lines, so that they compare whatever their order."""
    kept = ({name: value for name, value in row.items() if name != without} for row in rows)
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in kept)

"""Knows which read models others hold, by a lock of ALTER TABLE or VACUUM FULL, say: they are not waited for again."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from eventstore.bulkheads import Bulkheads
from eventstore.errors import ReadModelHeld
from eventstore.fault_log import FAULTS

log = structlog.get_logger()

_PROBE_SECONDS = 0.5
"""So often one question looks whether a model is free again; others are refused meanwhile."""
_PROBE_SETTINGS: Mapping[str, str] = {"lock_timeout": "200ms"}
_LOST_PROBE_SECONDS = 2.0
"""A probe that has said nothing for so long is given up."""

# Reading waits for no lock but this one, whether it was granted or waits itself. It may be on an index of the model.
_HELD = """
select m.model from unnest(%s::text[]) m (model)
where exists (
    select from pg_locks l join pg_class c on c.oid = l.relation
    where l.mode = 'AccessExclusiveLock' and c.relnamespace = 'read_models'::regnamespace
      and l.database = (select oid from pg_database where datname = current_database())
      and c.relname ~ ('^' || m.model || '_[0-9]+(_|$)'))
"""


class HeldModels:
    """Refuses questions about models that were found held, once one of them has waited for as long as one may.

    Every half a second one question tries again, and waits for a lock no longer than a fifth of a second.
    """

    def __init__(self, bulkheads: Bulkheads, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bulkheads = bulkheads
        self._pool: AsyncConnectionPool[Any] = bulkheads.pool
        self._clock = clock
        self._next_probe: dict[str, float] = {}
        """Of each held model."""

    def enter(self, models: tuple[str, ...]) -> Mapping[str, str]:
        """Return the settings that a question about `models` is to be asked with: none, unless it is a probe.

        Raises:
            ReadModelHeld: one of them is held.
        """
        if not self._next_probe:
            return {}
        held = [model for model in models if model in self._next_probe]
        if not held:
            return {}
        now = self._clock()
        if any(now < self._next_probe[model] for model in held):
            raise ReadModelHeld(", ".join(held))
        for model in held:
            self._next_probe[model] = now + _LOST_PROBE_SECONDS
        return _PROBE_SETTINGS

    def note_answered(self, models: tuple[str, ...]) -> None:
        """Learn that these models can be read."""
        if self._next_probe:
            for model in models:
                if self._next_probe.pop(model, None) is not None:
                    log.info("read_model.free", model=model)

    async def find(self, models: tuple[str, ...]) -> None:
        """Look which of `models`, one of which a question has waited for in vain, are held, and refuse those."""
        until = self._clock() + _PROBE_SECONDS
        known = [model for model in models if model in self._next_probe]
        for model in known or await self._look(models):
            if model not in self._next_probe:
                FAULTS.note("read_model.held", ReadModelHeld(model), model=model)
            self._next_probe[model] = until
            self._bulkheads.refuse(model, lambda held=model: ReadModelHeld(held))  # type: ignore[misc]

    async def _look(self, models: tuple[str, ...]) -> list[str]:
        if len(models) == 1:
            return list(models)  # what else it reads, nobody locks
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_HELD, (list(models),))
                return [model for (model,) in await cursor.fetchall()]
        except psycopg.Error as error:
            FAULTS.note("read_model.not_looked_at", error)
            return []

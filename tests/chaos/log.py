"""The log as it lies in the database, read without any code of the system."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.chaos.system import System

_EVENTS = """
select position, tenant, stream, version, topic, command_id, data, metadata, recorded_at
from varve.events order by position
"""


@dataclass(frozen=True, slots=True)
class Logged:
    """One row of the log."""

    position: int
    tenant: str
    stream: str
    version: int
    topic: str
    command_id: UUID
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    recorded_at: datetime

    @property
    def name(self) -> str:
        return self.topic.removeprefix("knowledge.")

    @property
    def aggregate_id(self) -> str:
        return str(self.data.get("entry_id") or self.data["document_id"])


async def read_log(system: System) -> list[Logged]:
    """Return every event of every tenant, in order."""
    rows = await system.rows(_EVENTS)
    return [
        Logged(position, tenant, stream, version, topic, command, json.loads(data), json.loads(metadata), recorded_at)
        for position, tenant, stream, version, topic, command, data, metadata, recorded_at in rows
    ]

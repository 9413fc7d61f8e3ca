"""Reads the log as it lies in the database, without any code of the system."""

import json

from tests.chaos.system import System
from tests.model import LogEvent

_EVENTS = """
select position, tenant, stream, version, topic, command_id, data, metadata, recorded_at
from varve.events order by position
"""


async def read_log(system: System) -> list[LogEvent]:
    """Return every event of every tenant, in order."""
    rows = await system.rows(_EVENTS)
    return [
        LogEvent(position, tenant, stream, version, topic, command, json.loads(data), json.loads(metadata), recorded_at)
        for position, tenant, stream, version, topic, command, data, metadata, recorded_at in rows
    ]

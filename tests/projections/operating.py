"""A table of operators' actions: the states of a projection, and which actions have something to do in them.

The tables are written by hand, from what each action means, and not derived from the code that decides.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from httpx import AsyncClient, Response

from domain.knowledge.events import KnowledgeEntryCreated
from domain.shared.events import Event
from eventstore.event_voider import EventVoider, NotVoidable
from eventstore.position import LogPosition
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, NotReadyError, Projection
from tests.builders.requests import create_entry
from tests.projections.engines import lanes

_SECONDS = 60.0
_LOOK_SECONDS = 0.1
REBUILDS = ("rebuild", "verify", "hold", "repair")
ACTIONS = (*REBUILDS, "swap", "cancel", "rollback", "pause", "resume", "as-of", "drop", "void", "skip", "retry")
_ALWAYS = {"as-of", "void"}
_ABOUT_THE_PAST = {"as-of", "drop"}
ALLOWED: dict[str, set[str]] = {
    "idle": {*REBUILDS, "pause"},
    "rebuilding": {"cancel", "pause"},
    "held": {"cancel", "pause", "swap"},
    "verifying": {"cancel", "pause"},
    "repairing": {"cancel", "pause"},
    "paused": {*REBUILDS, "resume"},
    "paused rebuild": {"cancel", "pause", "resume"},
    "returnable": {*REBUILDS, "rollback", "pause"},
    "parked": {*REBUILDS, "pause", "skip", "retry"},
    "as-of building": {*REBUILDS, "pause", "drop"},
    "as-of kept": {*REBUILDS, "pause", "drop"},
}
"""By state the actions that have something to do in it, besides those that always have."""
_BUILDS = {*REBUILDS, "rollback"}
_ENABLES: dict[str, set[str]] = {
    **{each: {"cancel", "pause"} for each in _BUILDS},
    "hold": {"cancel", "pause", "swap"},
    "rollback": {"cancel", "pause", "rollback"},
    "cancel": {*REBUILDS, "rollback"},
    "pause": {"resume"},
    "resume": {"pause"},
}
"""What an action may give the other one to do."""
_AT_ODDS: dict[str, set[str]] = {
    **dict.fromkeys(_BUILDS, _BUILDS),
    "swap": {"swap", "cancel"},
    "cancel": {"cancel", "swap", "resume"},
    "pause": {"pause"},
    "resume": {"resume", "cancel"},
    "drop": {"drop"},
    "void": {"void"},
    "skip": {"skip", "retry"},
    "retry": {"skip", "retry"},
}
"""Of which, when both have something to do, the first may leave nothing to the second."""
_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rebuild": ("rebuilds", {}),
    "verify": ("rebuilds", {"purpose": "verify"}),
    "hold": ("rebuilds", {"purpose": "hold"}),
    "repair": ("rebuilds", {"purpose": "repair", "tenant": "acme"}),
    "swap": ("swaps", {}),
    "cancel": ("cancellations", {}),
    "rollback": ("rollbacks", {}),
    "pause": ("pauses", {"reason": "a test"}),
    "resume": ("resumptions", {}),
    "retry": ("retries", {}),
    "skip": ("skips", {"reason": "a test"}),
}
_STEPS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "rebuilding": (_REQUESTS["rebuild"],),
    "held": (_REQUESTS["hold"],),
    "verifying": (_REQUESTS["verify"],),
    "repairing": (_REQUESTS["repair"],),
    "paused": (_REQUESTS["pause"],),
    "paused rebuild": (_REQUESTS["rebuild"], ("pauses", {"reason": "a test", "generation": 2})),
    "returnable": (_REQUESTS["rebuild"],),
}
"""The requests that bring a projection to a state."""
_BUILDING = {"rebuilding", "verifying", "repairing", "paused rebuild", "as-of building"}
"""The states in which something is built that must not come to its end."""
ONCE = {*REBUILDS, "swap", "cancel", "pause", "resume", "drop", "void", "skip"}
"""Two of the same can't both have something to do."""

_LIVE = "select generation from varve.generations where projection = %(name)s and status = 'live'"
_IS_SETTLED = """
select count(*) filter (where g.status = 'live' and g.paused_at is null and l.position >= %(head)s) = 1
       and count(*) filter (where g.status = 'building') = 0
       and not exists (select from varve.parked p where p.projection = %(name)s and p.is_to_retry)
from varve.generations g join varve.lanes l using (projection, generation) where projection = %(name)s
"""
_ENTRIES = """
select (e.data ->> 'entry_id')::uuid from varve.events_json e
where e.topic = 'knowledge.KnowledgeEntryCreated' and e.data ->> 'name' <> %(bad)s and e.position <= %(head)s
  and (%(voided)s or not exists (select from varve.voided v where v.tenant = e.tenant and v.position = e.position))
"""


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until `condition` holds; look seldom, since many cells share an event loop with an engine and the API."""
    give_up_at = time.monotonic() + _SECONDS
    while not await condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"never came true: {what}")
        await asyncio.sleep(_LOOK_SECONDS)


def is_allowed(state: str, action: str) -> bool:
    return action in ALLOWED[state] | _ALWAYS


def wrong_answers(state: str, pair: tuple[str, str], accepted: tuple[bool, bool]) -> str | None:
    """Return what is wrong with which of two actions at the same moment were accepted; None when nothing is."""
    first, second = pair
    allowed = is_allowed(state, first), is_allowed(state, second)
    for own, other in ((0, 1), (1, 0)):
        if accepted[own] and not allowed[own]:
            enabled = accepted[other] and pair[own] in _ENABLES.get(pair[other], set())
            if not enabled:
                return f"{pair[own]} has nothing to do"
        if allowed[own] and not allowed[other] and not accepted[own] and not accepted[other]:
            return f"{pair[own]} was refused"
    if all(allowed) and not any(accepted):
        return "both were refused"
    if all(allowed) and second not in _AT_ODDS.get(first, set()) and not all(accepted):
        return "one was refused"
    if first == second and first in ONCE and all(accepted):
        return "both were accepted"
    return None


class Operated(Projection):
    """A list of entries. What it builds waits at a gate, and one entry fails, by its name."""

    NAME: ClassVar[str] = "operated"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset({KnowledgeEntryCreated})
    TABLES: ClassVar[tuple[str, ...]] = ("entries",)
    DDL: ClassVar[str] = (
        "create table {entries} (tenant text, entry_id uuid, name text, primary key (tenant, entry_id))"
    )

    def __init__(self) -> None:
        self.gate_from: int | None = None
        """Generations from this number on, and those as of a position, wait."""

    async def prepare(self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent]) -> None:
        if self.gate_from is not None and (generation.number >= self.gate_from or generation.as_of is not None):
            raise NotReadyError("the gate is closed")

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        for recorded in events:
            created: Any = recorded.event
            if created.name == f"bad {self.NAME}":
                raise ValueError("it always fails here")
            await connection.execute(
                f"insert into {generation.table('entries')} values (%s, %s, %s)",
                (recorded.tenant, created.entry_id, created.name),
            )


def operated(name: str) -> Operated:
    """Return one of its own name."""

    class Named(Operated):
        NAME: ClassVar[str] = name

    return Named()


@dataclass
class Cell:
    """One projection that is brought to a state, and acted on."""

    projection: Operated
    operator: AsyncClient
    editor: AsyncClient
    admin: Connection
    voider: EventVoider
    epoch: str
    as_of: str | None = None
    parked: int | None = None
    wrong: int = 0
    """The position of an event that may be voided."""
    _head: int = 0
    accepted: int = 0
    refusals: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.projection.NAME

    async def bring_to(self, state: str) -> None:
        """Bring the projection to one of the states of `ALLOWED`, and close the gate."""
        self.wrong = int((await create_entry(self.editor, name=f"of {self.name}")).position.rpartition("-")[2])
        if state in _BUILDING:
            self.projection.gate_from = 2
        for request, body in _STEPS.get(state, ()):
            await self._done(request, body)
        if state == "returnable":
            await until(self._is_live_again, f"{self.name} is rebuilt")
        elif state == "parked":
            await self._park()
        elif state.startswith("as-of"):
            await self._start_as_of(state)
        self.projection.gate_from = 3 if state == "returnable" else 2

    async def act(self, action: str) -> bool:
        """Act as an operator; return whether it was accepted.

        Raises:
            AssertionError: it was neither accepted nor refused with a sentence.
        """
        if action == "void":
            return await self._void()
        answer = await self._send(action)
        if answer.status_code in {202, 204}:
            self.accepted += action not in _ABOUT_THE_PAST
            await self._carried_out(answer)
            return True
        assert answer.status_code == 409, f"{action} of {self.name}: {answer.status_code} {answer.text}"
        detail = answer.json()["detail"]
        assert detail.endswith("."), detail
        self.refusals.append(detail)
        return False

    async def settle(self) -> None:
        """Open the gate, take back what waits for an operator, and wait until the projection is as it was meant."""
        self.projection.gate_from = None
        for action in ("resume", "cancel", "drop"):
            await self._send(action)
        (self._head,) = await self._column("select varve.head()")
        try:
            await until(self._is_settled, f"{self.name} is live and builds nothing")
        except TimeoutError as error:
            raise TimeoutError(f"{self.name} is stuck at {self._head}: {await lanes(self.admin, self.name)}") from error

    async def wrong_rows(self) -> str | None:
        """Return how the rows that are read differ from the entries of the log; those that were voided may be there.

        Other cells go on: of what came after this one has settled there may be rows.
        """
        (generation,) = await self._column(_LIVE, {"name": self.name})
        rows = await self._column(f"select entry_id from {Generation(self.name, generation).table('entries')}")
        needed = await self._column(_ENTRIES, {"bad": f"bad {self.name}", "head": self._head, "voided": False})
        possible = await self._column(_ENTRIES, {"bad": f"bad {self.name}", "head": 2**62, "voided": True})
        lost, strange = set(needed) - set(rows), set(rows) - set(possible)
        return f"{len(lost)} rows are lost, {len(strange)} are of nothing" if lost or strange else None

    async def requests_in_log(self) -> int:
        """Return how many of the log's requests are about this projection, without those about past positions."""
        (count,) = await self._column(
            "select count(*) from varve.events_json where topic like 'operations.%%' and topic not like '%%AsOf%%'"
            " and topic <> 'operations.EventParked' and data ->> 'projection' = %s",
            (self.name,),
        )
        return int(count)

    async def _void(self) -> bool:
        try:
            await self.voider.void("acme", LogPosition(self.epoch, self.wrong), "a test", "otto")
        except NotVoidable as refusal:
            self.refusals.append(str(refusal))
            return False
        return True

    async def _send(self, action: str) -> Response:
        if action == "drop":
            return await self.operator.delete(f"/api/v1/admin/as-of/{self.as_of or UUID(int=1)}")
        if action == "as-of":
            plan = {"projections": [self.name], "position": f"{self.epoch}-1"}
            return await self.operator.post("/api/v1/admin/as-of", json=plan)
        request, body = _REQUESTS[action]
        if action == "skip":
            body = body | {"position": f"{self.epoch}-{self.parked or self.wrong}"}
        return await self.operator.post(f"/api/v1/admin/projections/{self.name}/{request}", json=body)

    async def _carried_out(self, answer: Response) -> None:
        """Wait until the request has an outcome; return nothing, since the state may have changed meanwhile."""
        location = answer.headers["Location"]

        async def is_over() -> bool:
            outcome = (await self.operator.get(location)).json()
            assert outcome["status"] in {"waiting", "done", "refused"}, outcome
            assert outcome["sentence"].endswith("."), outcome
            return bool(outcome["status"] != "waiting")

        await until(is_over, f"{location} is carried out")

    async def _done(self, request: str, body: dict[str, Any]) -> None:
        answer = await self.operator.post(f"/api/v1/admin/projections/{self.name}/{request}", json=body)
        assert answer.status_code == 202, answer.text
        self.accepted += 1
        await self._carried_out(answer)

    async def _park(self) -> None:
        created = await create_entry(self.editor, name=f"bad {self.name}")
        self.parked = int(created.position.rpartition("-")[2])

        async def is_parked() -> bool:
            return await self._column("select from varve.parked where projection = %s", (self.name,)) != []

        await until(is_parked, f"{self.name} has parked an event")

    async def _start_as_of(self, state: str) -> None:
        answer = await self._send("as-of")
        assert answer.status_code == 202, answer.text
        self.as_of = answer.json()["aggregate_id"]
        await self._carried_out(answer)

        async def is_kept() -> bool:
            found = await self._column("select status from varve.generations where as_of = %s", (self.as_of,))
            return found == ["kept"]

        if state == "as-of kept":
            await until(is_kept, f"{self.name} is kept")

    async def _is_live_again(self) -> bool:
        return await self._column(_LIVE, {"name": self.name}) == [2]

    async def _is_settled(self) -> bool:
        return await self._column(_IS_SETTLED, {"name": self.name, "head": self._head}) == [True]

    async def _column(self, sql: str, parameters: Any = None) -> list[Any]:
        rows = await (await self.admin.execute(sql, parameters)).fetchall()
        return [row[0] if row else True for row in rows]

"""The faults: what is done to whom, in a seeded order after seeded pauses, and how long it took until all was well."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
import redis

from tests.chaos.choices import choices_of
from tests.chaos.rebuilds import OF_THE_TEST, start_rebuild_directly
from tests.chaos.requests import Ledger
from tests.chaos.system import Group, Lane, System
from tests.fixtures.processes import is_stopped

_RECOVERY_SECONDS = 90.0
_TRAP_SECONDS = 90.0
_LOOK_SECONDS = 0.05
_PAUSES: dict[str, tuple[float, float]] = {
    "projections": (0.3, 2.0),
    "documents": (2.0, 6.0),
    "api": (1.5, 5.0),
    "postgres": (5.0, 11.0),
    "redis": (3.0, 8.0),
}
_HELD_JOBS = "select reference, leased_until from varve.jobs where leased_until > clock_timestamp()"
_STOPS = ("stopped", "stopped_in_transaction", "stopped_briefly")
_BRIEFLY = (0.2, 2.0)
"""Seconds, less than a lane's lease."""
_DOCUMENTS_STOPPED = (1.0, 20.0)
"""Seconds, around the 15 of a job's lease."""
_ANY_WORKER = 0.1
"""How often the killed projection worker may be one that only waits."""
_LATEST_OCCURRENCE = 25

T = TypeVar("T")
IsWell = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was done; `recovery` is in seconds, None when the system did not recover in time."""

    kind: str
    recovery: float | None


@dataclass
class Faults:
    """Does the faults of a run: those of one target one after the other, those of different targets together."""

    system: System
    ledger: Ledger
    seed: int
    kills: int
    say: Callable[[str], None]
    done: list[Fault] = field(default_factory=list)

    async def run(self) -> None:
        """Do everything that is planned.

        Raises:
            TimeoutError: a trap was never reached.
        """
        async with asyncio.TaskGroup() as group:
            for target, kinds in self.plan().items():
                group.create_task(self._run_target(target, kinds), name=f"faults of {target}")

    def plan(self) -> dict[str, list[str]]:
        """Return the faults of each target, in their seeded order."""
        stops, restarts = max(1, self.kills // 2), max(1, self.kills // 4)
        planned = {
            "projections": ["projections", "rows_written", "committed", "rebuilding"] * self.kills
            + [_STOPS[number % len(_STOPS)] for number in range(self.seed, self.seed + stops)],
            "documents": ["documents"] * self.kills + ["documents_stopped"] * stops,
            "api": ["api", "appended"] * self.kills,
            "postgres": ["postgres"] * self.kills + ["postgres_restarted"] * restarts,
            "redis": ["redis"] * self.kills + ["redis_restarted"] * restarts + ["flushall"] * restarts,
        }
        for target, kinds in planned.items():
            self._choice(f"order {target}").shuffle(kinds)
        return planned

    async def _run_target(self, target: str, kinds: list[str]) -> None:
        choice = self._choice(target)
        for number, kind in enumerate(kinds, start=1):
            await asyncio.sleep(choice.uniform(*_PAUSES[target]))
            began, is_well = await self._do(kind, choice)
            recovery = await _wait(is_well, began, _RECOVERY_SECONDS)
            if recovery is None:  # what is still stopped would be to blame for everything that follows
                self._wake_all()
            self.done.append(Fault(kind, recovery))
            shown = "NOT RECOVERED" if recovery is None else f"{recovery:.2f} s"
            self.say(f"{target} {number}/{len(kinds)}: {kind}, {shown}")

    async def _do(self, kind: str, choice: random.Random) -> tuple[float, IsWell]:
        """Do one fault; return when it happened, and what says that all is well again."""
        faults: dict[str, Callable[[random.Random], Awaitable[tuple[float, IsWell]]]] = {
            "projections": self._kill_projections,
            "rows_written": lambda choice: self._trap_projections("rows_written", choice),
            "committed": lambda choice: self._trap_projections("committed", choice),
            "rebuilding": self._kill_rebuilding,
            "stopped": self._stop_projections,
            "stopped_in_transaction": self._stop_projections_in_transaction,
            "stopped_briefly": self._stop_projections_briefly,
            "documents": self._kill_documents,
            "documents_stopped": self._stop_documents,
            "api": self._kill_api,
            "appended": self._trap_api,
            "postgres": lambda _: self._end_postgres(signal.SIGKILL),
            "postgres_restarted": lambda _: self._end_postgres(signal.SIGINT),
            "redis": lambda _: self._end_redis(signal.SIGKILL),
            "redis_restarted": lambda _: self._end_redis(signal.SIGTERM),
            "flushall": self._empty_redis,
        }
        return await faults[kind](choice)

    async def _kill_projections(self, choice: random.Random) -> tuple[float, IsWell]:
        group = self.system.groups["projections"]
        any_of_them = choice.random() < _ANY_WORKER

        async def owner_or_any() -> int | None:
            return choice.choice(sorted(group.processes) or [None]) if any_of_them else await self._owner()

        head = await self._until_answered(self.system.head)
        death = await group.kill(owner_or_any)
        return death.at, self._caught_up(head, death.pid)

    async def _trap_projections(self, point: str, choice: random.Random) -> tuple[float, IsWell]:
        group = self.system.groups["projections"]
        head = await self._until_answered(self.system.head)
        death = await group.die_at(_trap(point, choice, signal.SIGKILL), _TRAP_SECONDS)
        return death.at, self._caught_up(head, death.pid)

    async def _kill_rebuilding(self, choice: random.Random) -> tuple[float, IsWell]:
        """Kill a worker while it fills a new generation."""
        group = self.system.groups["projections"]
        rebuilt = choice.choice(list(OF_THE_TEST.values()))

        async def builder() -> int | None:
            with suppress(psycopg.OperationalError):
                for lane in await self.system.lanes("building"):
                    if lane.owner_pid in group.processes:
                        return lane.owner_pid
                await start_rebuild_directly(self.system, rebuilt)
            return None

        head = await self._until_answered(self.system.head)
        death = await group.kill(builder)
        return death.at, self._caught_up(head, death.pid)

    async def _stop_projections(self, choice: random.Random) -> tuple[float, IsWell]:
        group = self.system.groups["projections"]
        pid = await self._owner()
        began = time.monotonic()
        group.signal(pid, signal.SIGSTOP)
        return began, await self._outlive(group, pid)

    async def _stop_projections_in_transaction(self, choice: random.Random) -> tuple[float, IsWell]:
        """Stop one after it wrote rows and before it moved the position: it comes back in the middle of that."""
        group = self.system.groups["projections"]
        pid = await self._owner()
        group.set_trap_of(pid, _trap("rows_written", choice, signal.SIGSTOP))
        async with asyncio.timeout(_TRAP_SECONDS):
            while not is_stopped(pid):  # noqa: ASYNC110 - a process tells nobody
                await asyncio.sleep(_LOOK_SECONDS)
        group.stopped.add(pid)
        return time.monotonic(), await self._outlive(group, pid)

    async def _stop_projections_briefly(self, choice: random.Random) -> tuple[float, IsWell]:
        """Stop one for less than its lease: it goes on where it was."""
        group = self.system.groups["projections"]
        pid = await self._owner()
        group.signal(pid, signal.SIGSTOP)
        await asyncio.sleep(choice.uniform(*_BRIEFLY))
        group.signal(pid, signal.SIGCONT)
        woken = time.monotonic()
        head = await self._until_answered(self.system.head)
        return woken, self._caught_up(head, 0)

    async def _outlive(self, group: Group, pid: int) -> IsWell:
        """Wake a stopped worker once another one has its lanes and has moved them on; say when that is so."""
        head = await self._until_answered(self.system.head)
        is_well = self._caught_up(head, pid)

        async def taken_over() -> bool:
            if not await is_well():
                return False
            group.signal(pid, signal.SIGCONT)
            return True

        return taken_over

    async def _kill_documents(self, choice: random.Random) -> tuple[float, IsWell]:
        group = self.system.groups["documents"]
        if choice.random() < 0.8:  # mostly in the middle of a document
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                if await self._until_answered(lambda: self.system.rows(_HELD_JOBS)):
                    break
                await asyncio.sleep(_LOOK_SECONDS)
        death = await group.kill(_any_of(group, choice))
        return death.at, await self._taken_up_again(group)

    async def _stop_documents(self, choice: random.Random) -> tuple[float, IsWell]:
        """Stop one for less or more than a job's lease, and wake it: another may have its documents by then."""
        group = self.system.groups["documents"]
        pid = choice.choice(sorted(group.processes) or [0])  # none is just now, so this fault falls on nobody
        group.signal(pid, signal.SIGSTOP)
        is_well = await self._taken_up_again(group)
        await asyncio.sleep(choice.uniform(*_DOCUMENTS_STOPPED))
        group.signal(pid, signal.SIGCONT)
        return time.monotonic(), is_well

    async def _taken_up_again(self, group: Group) -> IsWell:
        """Say when every job that is held now has ended or has another lease."""
        held = dict(await self._until_answered(lambda: self.system.rows(_HELD_JOBS)))

        async def is_so() -> bool:
            # The dead one's leases change no more. (Attempts do not tell: one that the database spoilt is not counted.)
            now = dict(await self.system.rows("select reference, leased_until from varve.jobs"))
            return bool(group.processes) and all(now.get(each) != lease for each, lease in held.items())

        return is_so

    async def _kill_api(self, choice: random.Random) -> tuple[float, IsWell]:
        group = self.system.groups["api"]
        death = await group.kill(_any_of(group, choice))
        return death.at, self._answers_since(death.at)

    async def _trap_api(self, choice: random.Random) -> tuple[float, IsWell]:
        death = await self.system.groups["api"].die_at(_trap("appended", choice, signal.SIGKILL), _TRAP_SECONDS)
        return death.at, self._answers_since(death.at)

    async def _end_postgres(self, number: signal.Signals) -> tuple[float, IsWell]:
        began, _ = await _signal_server(lambda: self.system.services.postgres_pid, number)
        return began, self._answers_since(began)

    async def _end_redis(self, number: signal.Signals) -> tuple[float, IsWell]:
        began, pid = await _signal_server(lambda: self.system.services.redis_pid, number)

        async def is_another() -> bool:
            return self.system.services.redis_pid not in {None, pid} and await self.system.redis_answers()

        return began, is_another

    async def _empty_redis(self, choice: random.Random) -> tuple[float, IsWell]:
        while True:
            with suppress(redis.RedisError):
                async with self.system.redis() as client:
                    await client.flushall()
                    break
            await asyncio.sleep(_LOOK_SECONDS)
        head = await self._until_answered(self.system.head)
        return time.monotonic(), self._caught_up(head, 0)

    def _wake_all(self) -> None:
        for group in self.system.groups.values():
            for pid in group.processes:
                group.signal(pid, signal.SIGCONT)

    async def _owner(self) -> int:
        """Return the process that has most lanes, once there is one."""
        processes = self.system.groups["projections"].processes
        while True:
            owners = [lane.owner_pid for lane in await self._until_answered(self.system.lanes)]
            living = [pid for pid in owners if pid in processes]
            if living:
                return max(living, key=living.count)
            await asyncio.sleep(_LOOK_SECONDS)

    def _caught_up(self, head: int, without: int) -> IsWell:
        """Say when others than the process `without` have every lane, and have passed `head`.

        The vectors' lane waits for the document worker, which has faults of its own, so it only needs an owner.
        """

        async def is_so() -> bool:
            lanes = await self.system.lanes()
            return all(_is_led(lane, without) for lane in lanes) and all(
                lane.position >= head for lane in lanes if lane.projection != "search_vector"
            )

        return is_so

    def _answers_since(self, began: float) -> IsWell:
        async def is_so() -> bool:
            return self.ledger.acknowledged_sent_at > began

        return is_so

    async def _until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            with suppress(psycopg.OperationalError):
                return await ask()
            await asyncio.sleep(_LOOK_SECONDS)

    def _choice(self, purpose: str) -> random.Random:
        return choices_of(self.seed, purpose)


def _trap(point: str, choice: random.Random, number: signal.Signals) -> str:
    return f"{point} {choice.randint(1, _LATEST_OCCURRENCE)} {number.value}"


def _any_of(group: Group, choice: random.Random) -> Callable[[], Awaitable[int | None]]:
    async def pid() -> int | None:
        return choice.choice(sorted(group.processes) or [None])

    return pid


async def _signal_server(current: Callable[[], int | None], number: signal.Signals) -> tuple[float, int]:
    """Send the signal to a server once there is one; return when that was, and its process."""
    while True:
        pid = current()
        if pid is not None:
            os.kill(pid, number)
            return time.monotonic(), pid
        await asyncio.sleep(_LOOK_SECONDS)


async def _wait(is_well: IsWell, began: float, seconds: float) -> float | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            if await is_well():
                return time.monotonic() - began
        await asyncio.sleep(_LOOK_SECONDS)
    return None


def _is_led(lane: Lane, without: int) -> bool:
    return lane.owner_pid is not None and lane.owner_pid != without

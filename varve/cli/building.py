"""Waits for the end of a generation that is being filled, and says why when there will be none."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from varve.cli.output import console
from varve.client import ApiClient, ApiError

Purpose = Literal["swap", "hold", "verify", "repair"]
Lane = dict[str, Any]

_PAUSE_SECONDS = 0.2
_NO_OWNER_SECONDS = 15.0
_NOT_SWAPPED_SECONDS = 5.0
_NO_PROGRESS_SECONDS = 60.0


@dataclass
class _Since:
    """Since when each of several conditions has held without a break."""

    _began: dict[str, float] = field(default_factory=dict)

    def seconds(self, condition: str, *, holds: bool) -> float:
        """Note whether `condition` holds now, and return for how long it has."""
        if not holds:
            self._began.pop(condition, None)
            return 0.0
        now = time.monotonic()
        return now - self._began.setdefault(condition, now)


async def lanes_of(client: ApiClient, name: str) -> list[Lane]:
    """Return the lanes of all generations of a projection."""
    return [lane for lane in await client.get("/admin/projections") if lane["projection"] == name]


def live_since(lanes: Sequence[Lane], generation: int | None) -> str | None:
    """Return since when a generation has been live, or was at last."""
    return next((lane["live_since"] for lane in lanes if lane["generation"] == generation), None)


class Building:
    """One generation of a projection, as its lanes show it from time to time."""

    def __init__(self, client: ApiClient, name: str, generation: int, purpose: Purpose) -> None:
        self._client = client
        self._name = name
        self._generation = generation
        self._purpose = purpose
        self._since = _Since()

    async def end(self, seconds: float, live_before: str | None = None) -> dict[str, Any]:
        """Wait until the generation has done what it is for, and return what that came to.

        Args:
            seconds: how long to wait at the most.
            live_before: since when it was live before, if it was: a rollback has it live again.

        Raises:
            ApiError: it has not, or never will unless an operator does something.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        give_up_at = time.monotonic() + seconds
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(f"Rebuilding {self._name}", total=None)
            total = 0
            while True:
                lanes = await lanes_of(self._client, self._name)
                if found := await self._found(lanes, live_before):
                    return found
                mine = [lane for lane in lanes if lane["generation"] == self._generation]
                self._require_building(lanes, mine)
                self._require_movement(lanes, mine)
                if time.monotonic() >= give_up_at:
                    raise self._error("is not at its end yet, and goes on without this command", "waiting")
                lag = max(lane["lag"] for lane in mine)
                total = max(total, lag)
                progress.update(task, completed=total - lag, total=total or None)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _found(self, lanes: Sequence[Lane], live_before: str | None) -> dict[str, Any] | None:
        if self._purpose in {"verify", "repair"}:
            found: list[dict[str, Any]] = await self._client.get(f"/admin/projections/{self._name}/verifications")
            return next((each for each in found if each["generation"] == self._generation), None)
        mine = [lane for lane in lanes if lane["generation"] == self._generation]
        if not mine or live_since(mine, self._generation) in {None, live_before}:
            return None
        # One that was swapped in may have been replaced since; its rows were read all the same.
        return {"projection": self._name, "generation": self._generation, "status": mine[0]["status"]}

    def _require_building(self, lanes: Sequence[Lane], mine: Sequence[Lane]) -> None:
        if not mine or mine[0]["status"] != "building":
            live = {lane["generation"] for lane in lanes if lane["status"] == "live"}
            raise self._error(f"was given up before its end; generation {max(live, default=0)} is live", "cancelled")
        if reason := mine[0]["paused"]:
            again = f"varve projections resume {self._name} --generation {self._generation}"
            raise self._error(f"is paused ({reason}): {again}", "paused")

    def _require_movement(self, lanes: Sequence[Lane], mine: Sequence[Lane]) -> None:
        is_alone = any(lane["owner"] is None for lane in mine)
        if self._since.seconds("no owner", holds=is_alone) > _NO_OWNER_SECONDS:
            needs = next((f", which knows {lane['needs']}" for lane in mine if lane["needs"]), "")
            raise self._error(f"waits for a projection worker{needs}, and goes on when one runs", "no_owner")
        live_parked = max((lane["parked"] for lane in lanes if lane["status"] == "live"), default=0)
        lacks = max(lane["parked"] for lane in mine) > live_parked and all(lane["lag"] == 0 for lane in mine)
        if self._since.seconds("lacks events", holds=lacks) > _NOT_SWAPPED_SECONDS:
            raise self._error(
                f"has parked events that the live one has not: varve projections parked {self._name}; "
                "it is swapped in when they are retried or skipped",
                "parked",
            )
        error = next((lane["error"] for lane in mine if lane["failures"]), None)
        standing = f"{error} at {[lane['position'] for lane in mine]}"
        if self._since.seconds(standing, holds=error is not None) > _NO_PROGRESS_SECONDS:
            raise self._error(f"fails again and again ({error}), and is tried on", "failing")

    def _error(self, what: str, status: str) -> ApiError:
        then = "" if status in {"cancelled", "paused", "parked"} else f": varve projections status {self._name}"
        return ApiError(f"The rebuild of {self._name} as generation {self._generation} {what}{then}", status=status)

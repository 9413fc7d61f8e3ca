"""Has what many tasks want at one time asked for together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

import structlog

W = TypeVar("W")
A = TypeVar("A")

log = structlog.get_logger()

_PATIENCE = 0.02
"""Seconds that nobody is kept waiting longer by somebody else's question."""


class Gathering(Generic[W, A]):
    """Asks for what is wanted while something of its kind is being asked for as soon as that is answered, together.

    What comes alone is asked for at once, and the busier the process is, the more is asked for with one question: as
    writes are committed in groups, and a DataLoader reads (https://github.com/graphql/dataloader). When a question for
    several fails, each of them is asked for alone, so that nobody learns of another's failure; unless it is one that
    would take each of them as long again.
    """

    def __init__(
        self,
        alone: Callable[[W], Awaitable[A]],
        together: Callable[[Sequence[W]], Awaitable[Sequence[A]]],
        *,
        most: int,
        is_final: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        """Take how one thing is asked for, and how up to `most` are, which are answered in their order.

        `is_final` tells which failures of several at once are each one's own, too.
        """
        self._alone = alone
        self._together = together
        self._most = most
        self._is_final = is_final
        self._waiting: dict[Hashable, _Group[W, A]] = {}
        self._asking: dict[Hashable, _Group[W, A]] = {}
        """Of each kind the last group that is being asked for."""

    async def ask(self, kind: Hashable, wanted: W) -> A:
        """Return the answer to `wanted`, which can be asked for together with others of its kind.

        Raises:
            Exception: whatever asking for it alone raises.
        """
        group = self._waiting.get(kind)
        if group is None:
            return await self._ask_as_first(kind, wanted)
        place = len(group.wanted)
        group.wanted.append(wanted)
        if place + 1 == self._most:
            del self._waiting[kind]
        answers = await asyncio.shield(group.end)  # others wait for it, too, when one of them is cancelled
        if isinstance(answers, Exception):
            raise answers
        return answers[place] if answers else await self._alone(wanted)

    async def _ask_as_first(self, kind: Hashable, wanted: W) -> A:
        """Ask for what is wanted, and for what others of its kind want until it can be asked for."""
        group: _Group[W, A] = _Group(wanted)
        answers: Sequence[A] | Exception = ()
        try:
            await self._wait(kind, group)
            self._asking[kind] = group
            if len(group.wanted) == 1:
                return await self._alone(wanted)
            answers = await self._asked_together(group.wanted)
        finally:
            _leave(self._asking, kind, group)
            group.note_end(answers)
        if isinstance(answers, Exception):
            raise answers
        return answers[0] if answers else await self._alone(wanted)

    async def _wait(self, kind: Hashable, group: "_Group[W, A]") -> None:
        """Let others join, as long as something of the kind is being asked for."""
        before = self._asking.get(kind)
        if before is not None:
            self._waiting[kind] = group
            try:
                await asyncio.wait((before.end,), timeout=_PATIENCE)
            finally:
                _leave(self._waiting, kind, group)

    async def _asked_together(self, wanted: Sequence[W]) -> Sequence[A] | Exception:
        try:
            return await self._together(wanted)
        except Exception as error:  # noqa: BLE001 - whoever asks alone finds out what is wrong, and with which one
            log.debug("gathering.failed", error=str(error))
            return error if self._is_final(error) else ()


def _leave(groups: "dict[Hashable, _Group[W, A]]", kind: Hashable, group: "_Group[W, A]") -> None:
    """Take `group` out, unless another one of its kind has its place."""
    if groups.get(kind) is group:
        del groups[kind]


class _Group(Generic[W, A]):
    """What is asked for together."""

    def __init__(self, first: W) -> None:
        self.wanted = [first]
        self._end: asyncio.Future[Sequence[A] | Exception] | None = None

    @property
    def end(self) -> "asyncio.Future[Sequence[A] | Exception]":
        """What is done with the answers, with none when each has to be asked for alone, or with each one's failure."""
        if self._end is None:  # few have anybody who waits
            self._end = asyncio.get_running_loop().create_future()
        return self._end

    def note_end(self, answers: Sequence[A] | Exception) -> None:
        if self._end is not None:
            self._end.set_result(answers)

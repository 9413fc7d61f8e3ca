"""Positions as they leave the database: opaque tokens that know which history of which log they belong to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from eventstore.errors import ForeignEpoch, InvalidPosition

_TOKEN = re.compile(r"([0-9a-f]{12})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in the one global order of one history of a log.

    The first four digits of `epoch` are those of the log's id, the other eight are random.
    """

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"


@dataclass(frozen=True, slots=True)
class Epoch:
    """A history of a log; up to `fork_position` it is that of the epoch before."""

    epoch: str
    fork_position: int


def parse_position(token: str, epochs: Sequence[Epoch]) -> int:
    """Return the position that `token` stands for in the newest of a log's `epochs`, which are in their order.

    What an older epoch has handed out up to every later fork is part of the present history, and so still good.

    Raises:
        InvalidPosition: it is no token, or was never handed out by this log.
        ForeignEpoch: it lies in a part of an older history that no longer exists.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidPosition(token)
    position = int(match[2])
    numbers = {epoch.epoch: number for number, epoch in enumerate(epochs)}
    if (number := numbers.get(match[1])) is None:
        raise InvalidPosition(token)
    later_forks = [epoch.fork_position for epoch in epochs[number + 1 :]]
    if later_forks and position > (fork := min(later_forks)):
        raise ForeignEpoch(token, str(LogPosition(epochs[-1].epoch, fork)))
    return position

"""Positions as they leave the database: opaque tokens that know which history of the log they belong to."""

import re
from dataclasses import dataclass

from eventstore.errors import ForeignEpoch, InvalidPosition

_TOKEN = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A place in the one global order of a log's current history."""

    epoch: str
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"


def parse_position(token: str, epoch: str, fork_position: int = 0) -> int:
    """Return the position that `token` stands for in the history `epoch`.

    Raises:
        InvalidPosition: it is no token.
        ForeignEpoch: it was handed out by another history of the log.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidPosition(token)
    if match[1] != epoch:
        raise ForeignEpoch(token, fork_position)
    return int(match[2])

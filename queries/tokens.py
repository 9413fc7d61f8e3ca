"""Positions of rows as they leave the database."""

from eventstore.position import LogPosition
from queries.ports import Row


def with_token(row: Row, epoch: str) -> Row:
    """Return `row` with its column `position` as a token of `epoch`."""
    return {**row, "position": str(LogPosition(epoch, row["position"]))}

"""The real clock and the real source of ids."""

import time
from datetime import UTC, datetime
from uuid import UUID

from domain.shared.ids import uuid7


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class TimeOrderedIds:
    def new(self) -> UUID:
        return uuid7(time.time_ns() // 1_000_000)

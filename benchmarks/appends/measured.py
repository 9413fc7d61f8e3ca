"""Measures contenders in turns, because machines have moods, and says by how much one beats another."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from benchmarks.appends.database import Server
from benchmarks.metrics import percentile

_COMMIT_SECONDS = 0.3
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Slice:
    """Some seconds of one contender; percentiles are None where it doesn't tell them."""

    per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None

    @classmethod
    def of(cls, seconds: float, milliseconds: Sequence[float], each: int = 1) -> "Slice":
        """Make it of the times of all calls in `seconds`, where a call did `each` of what is counted."""
        return cls(len(milliseconds) * each / seconds, percentile(milliseconds, 50), percentile(milliseconds, 99))


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that does its work for some seconds."""

    name: str
    run: Callable[[float], Awaitable[Slice]]


@dataclass(frozen=True, slots=True)
class Target:
    """How the subject should compare with the reference."""

    subject: str
    reference: str
    bound: Literal["≥", "≤"]
    ratio: float
    of: Literal["per_second", "p50_ms", "p99_ms", "seconds_each"] = "per_second"


@dataclass(frozen=True, slots=True)
class Bench:
    """What a row is measured on, for how many rounds, and for how many seconds a contender runs in each."""

    server: Server
    rounds: int
    seconds: float

    async def measure(
        self, row: str, contenders: Sequence[Contender], targets: Sequence[Target]
    ) -> list[dict[str, Any]]:
        """Return a figure for each contender and each target.

        A ratio is the median of those of the rounds, in which the two ran one after another.
        """
        slices: dict[str, list[Slice]] = {contender.name: [] for contender in contenders}
        commits: list[float] = []
        for contender in contenders:
            await self._slice(contender, self.seconds)  # plans, caches and connections
        for number in range(self.rounds):
            commits.append(self.server.commits_per_second(_COMMIT_SECONDS))
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                slices[contender.name].append(await self._slice(contender, self.seconds))
        disk = {"row": row, "what": "commits/s of the disk, one at a time", "per_second": round(median(commits))}
        figures = [figure(row, contender.name, slices[contender.name]) for contender in contenders]
        return [disk, *figures, *(compared(row, target, slices) for target in targets)]

    async def _slice(self, contender: Contender, seconds: float) -> Slice:
        async with asyncio.timeout(seconds + _PATIENCE_SECONDS):
            return await contender.run(seconds)


def compared(row: str, target: Target, slices: Mapping[str, Sequence[Slice]]) -> dict[str, Any]:
    """Return how a target was met."""
    pairs = zip(slices[target.subject], slices[target.reference], strict=True)
    ratios = [_value(subject, target.of) / _value(reference, target.of) for subject, reference in pairs]
    ratio = median(ratios)
    return {
        "row": row,
        "what": f"{target.subject} / {target.reference}",
        "of": target.of,
        "ratio": round(ratio, 3),
        "target": f"{target.bound} {target.ratio:g}",
        "is_reached": ratio >= target.ratio if target.bound == "≥" else ratio <= target.ratio,
        "ratios": [round(each, 3) for each in ratios],
    }


def _value(measured: Slice, of: str) -> float:
    value = 1 / measured.per_second if of == "seconds_each" else getattr(measured, of)
    assert value is not None, f"a contender does not tell its {of}"
    return float(value)


def figure(row: str, name: str, slices: Sequence[Slice]) -> dict[str, Any]:
    """Return the medians of a contender's slices."""
    found: dict[str, Any] = {"row": row, "what": name, "per_second": round(median(s.per_second for s in slices), 1)}
    for field in ("p50_ms", "p99_ms"):
        values = [value for each in slices if (value := getattr(each, field)) is not None]
        if values:
            found[field] = round(median(values), 2)
    return found | {"runs_per_second": [round(each.per_second) for each in slices]}

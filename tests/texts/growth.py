"""Measures how the time and the bytes that a step takes grow with its text, in a child process with limits."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.texts.shapes import Shape
from tests.texts.steps import Step

_PROJECT = Path(__file__).resolve().parents[2]
_MEASURABLE_SECONDS = 0.01
_NEGLIGIBLE_SECONDS_PER_CHARACTER = 1e-7  # the machine's memory makes as much difference
_SURE_GROWTH = 8.0  # half of what a quadratic step has
_FREE_SECONDS = 0.05
_MOST_BYTES_PER_BYTE = 8
_FREE_BYTES = 64 * 1024
_TRIES = 5
_MEMORY_BYTES = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class Measured:
    """A text's length, and what the step took and made of it."""

    characters: int
    seconds: float
    bytes_in: int
    bytes_out: int
    most_seconds: float

    @property
    def is_lavish(self) -> bool:
        return self.bytes_out > self.bytes_in * _MOST_BYTES_PER_BYTE + _FREE_BYTES

    @property
    def is_slow(self) -> bool:
        return self.seconds > self.most_seconds


def complaint(step: Step, shape: Shape) -> str | None:
    """Return what is wrong with the step for the shortest text of this shape that can be timed, and a quarter of it."""
    size = min(step.least, step.most)
    quarter = _measure(step, shape, size // 4)
    while True:
        whole = _measure(step, shape, size)
        if whole.seconds >= _MEASURABLE_SECONDS or size >= step.most or whole.is_lavish:
            return _complaint(step, shape, quarter, whole, _is_confirmed)
        quarter, size = whole, min(4 * size, step.most)
        if size < 4 * quarter.characters:
            quarter = _measure(step, shape, size // 4)


def complaint_at_full_size(step: Step, shape: Shape) -> str | None:
    """Return what is wrong with the step for the longest text of this shape and a quarter of it."""
    quarter, whole = _measure(step, shape, step.most // 4), _measure(step, shape, step.most)
    return _complaint(step, shape, quarter, whole, lambda *_: True)


def _complaint(
    step: Step,
    shape: Shape,
    quarter: Measured,
    whole: Measured,
    is_confirmed: Callable[[Step, Shape, Measured, Measured], bool],
) -> str | None:
    if whole.is_lavish:
        return f"{whole.bytes_in} bytes become {whole.bytes_out}"
    is_suspect = _is_superlinear(step, quarter, whole) or whole.is_slow
    if is_suspect:  # a busy machine, perhaps: the best of five decides
        quarter, whole = _best(step, shape, quarter), _best(step, shape, whole)
    if _is_superlinear(step, quarter, whole) and is_confirmed(step, shape, quarter, whole):
        return (
            f"{quarter.seconds:.4f} s for {quarter.characters} characters, {whole.seconds:.4f} s for {whole.characters}"
        )
    return f"{whole.seconds:.3f} s for {whole.characters} characters" if whole.is_slow else None


def _is_confirmed(step: Step, shape: Shape, quarter: Measured, whole: Measured) -> bool:
    """Whether the next quadruple grows as much: some milliseconds on a busy machine tell little."""
    if 4 * whole.characters > step.most:
        return whole.seconds > _SURE_GROWTH * quarter.seconds
    larger = _best(step, shape, _measure(step, shape, 4 * whole.characters))
    return _is_superlinear(step, whole, larger)


def _is_superlinear(step: Step, quarter: Measured, whole: Measured) -> bool:
    matters = max(_MEASURABLE_SECONDS, whole.characters * _NEGLIGIBLE_SECONDS_PER_CHARACTER)
    return whole.seconds >= matters and whole.seconds > step.most_growth * quarter.seconds


def _best(step: Step, shape: Shape, first: Measured) -> Measured:
    others = (_measure(step, shape, first.characters) for _ in range(_TRIES - 1))
    return min((first, *others), key=lambda each: each.seconds)


def _measure(step: Step, shape: Shape, characters: int) -> Measured:
    text = shape(characters)
    started = time.thread_time()
    made = step.run(text)
    seconds = time.thread_time() - started
    most_seconds = characters * step.seconds_per_million / 1_000_000 + _FREE_SECONDS
    return Measured(characters, seconds, len(text.encode("utf-8", "surrogatepass")), made, most_seconds)


@dataclass(frozen=True, slots=True)
class Report:
    """What a child has said: the shapes that it has finished, and what was wrong with them."""

    complaints: Sequence[str]
    finished: int


def run_child(group: str, name: str, *, full: bool, cpu_seconds: int) -> Report:
    """Measure one step with all of its shapes in a process that ends at `cpu_seconds` or 4 GB."""
    arguments = [sys.executable, "-m", "tests.texts.growth", group, name, "full" if full else "short", str(cpu_seconds)]
    child = subprocess.run(arguments, cwd=_PROJECT, capture_output=True, text=True, check=False)
    said = [json.loads(line) for line in child.stdout.splitlines()]
    finished = [each for each in said if "complaint" in each]
    complaints = [f"{name}, {each['shape']}: {each['complaint']}" for each in finished if each["complaint"]]
    if child.returncode != 0:
        last = said[-1]["shape"] if said else "the first"
        complaints.append(f"{name}, {last}: the process ended with {child.returncode}: {child.stderr[-500:]}")
    return Report(complaints, len(finished))


def _main(group: str, name: str, extent: str, cpu_seconds: str) -> None:
    from tests.texts.corpus import GROUPS

    step, shapes = GROUPS[group][name]
    limit = int(cpu_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    look: Callable[[Step, Shape], str | None] = complaint_at_full_size if extent == "full" else complaint
    step.run(_warm_up())
    for shape_name, shape in shapes(full=extent == "full").items():
        _say({"shape": shape_name})
        _say({"shape": shape_name, "complaint": look(step, shape)})


def _warm_up() -> str:
    """A text that has a step load what it needs: models, tables of characters."""
    return "A sentence of some words, é and 天.\n\n" * 3


def _say(words: dict[str, object]) -> None:
    print(json.dumps(words), flush=True)  # noqa: T201 - the parent reads it


def lines(reports: Iterator[Report]) -> Iterator[str]:
    """Yield all complaints."""
    for report in reports:
        yield from report.complaints


if __name__ == "__main__":
    _main(*sys.argv[1:])

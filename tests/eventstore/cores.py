"""A kind of aggregate of the tests alone, whose events have come to their second and third versions."""

from typing import Any, ClassVar, assert_never

from pydantic import BaseModel, ConfigDict

from domain.shared.aggregates import AggregateType
from domain.shared.events import Event


class CoreLabelled(Event):
    """At first the label was called a name."""

    TOPIC: ClassVar[str] = "tests.CoreLabelled"
    class_version: ClassVar[int] = 2

    label: str

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["label"] = state.pop("name")


class LayerMeasured(Event):
    """Depth was a text such as `12 cm`, then a number; later it was noted who had measured."""

    TOPIC: ClassVar[str] = "tests.LayerMeasured"
    class_version: ClassVar[int] = 3

    layer: int
    millimetres: int
    by: str | None

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["millimetres"] = 10 * int(state.pop("depth").removesuffix(" cm"))

    @staticmethod
    def upcast_v2_v3(state: dict[str, Any]) -> None:
        state["by"] = None


class Core(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    millimetres: int


CoreEvent = CoreLabelled | LayerMeasured


def evolve(state: Core | None, event: CoreEvent) -> Core:
    deepest = 0 if state is None else state.millimetres
    label = "" if state is None else state.label
    match event:
        case CoreLabelled():
            return Core(label=event.label, millimetres=deepest)
        case LayerMeasured():
            return Core(label=label, millimetres=max(deepest, event.millimetres))
        case _:
            assert_never(event)


CORE = AggregateType("core", Core, evolve, (CoreLabelled, LayerMeasured), snapshot_version=2)
"""The first snapshots held a depth as a text."""

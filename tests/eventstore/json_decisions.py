"""Decisions as pydantic models, stored as JSON.

They stand in for `eventsourcing.dcb.msgpack`, whose msgspec is not installed: the wheel's projection cases import their
decisions from there. Codec and recorder know nothing of each other, so the cases ask the same of our recorders.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import pytest
from eventsourcing.dcb import domain
from eventsourcing.dcb.api import DCBEvent
from eventsourcing.dcb.persistence import DCBMapper
from eventsourcing.utils import get_topic, resolve_topic
from pydantic import BaseModel


class Decision(BaseModel, domain.Decision):
    def as_dict(self) -> dict[str, Any]:
        return self.model_dump()


class InitialDecision(Decision, domain.InitialDecision):
    originator_topic: str


class JsonMapper(DCBMapper[Decision]):
    def to_dcb_event(self, event: domain.Tagged[Any]) -> DCBEvent:
        data = event.decision.model_dump_json().encode()
        return DCBEvent(type=get_topic(type(event.decision)), data=data, tags=event.tags)

    def to_domain_event(self, event: DCBEvent) -> domain.Tagged[Decision]:
        decision_class: type[Decision] = resolve_topic(event.type)
        return domain.Tagged(tags=event.tags, decision=decision_class.model_validate_json(event.data))


def import_with_json_decisions(name: str) -> ModuleType:
    """Import a module of the library that imports its decisions from `eventsourcing.dcb.msgpack`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "eventsourcing.dcb.msgpack", sys.modules[__name__])
        return importlib.import_module(name)

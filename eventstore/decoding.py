"""Makes what reads a model from the bytes of the log, without the checks that they passed before they came there."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import SchemaValidator

from domain.shared.values import CHECKED_WHEN_MADE

M = TypeVar("M", bound=BaseModel)


def reader_of(model: type[M]) -> Callable[[bytes], M]:
    """Return a function that reads canonical JSON as `model`, and raises a `ValidationError` where it does not fit.

    Fields, their types and pydantic's own constraints are looked at. What is `WhenMade` is not: it is Python code, and
    would take most of the time; and it may have become stricter since, which must not make history unreadable.
    """
    # Otherwise pydantic puts the class's own validator, with the checks, in the place of the schema that it is given.
    return SchemaValidator(_without_checks(model.__pydantic_core_schema__), _use_prebuilt=False).validate_json


@contextmanager
def collection_put_off() -> Iterator[None]:
    """Make many objects that stay, without looking for garbage among them.

    An event is several objects that the collector tracks. It would go through the youngest of them a dozen times for
    each window, find nothing, and after some windows go through all objects of the process, which takes 60 ms and more.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _without_checks(schema: Any) -> Any:
    match schema:
        case {"type": "function-after", "metadata": {**metadata}, "schema": inner} if CHECKED_WHEN_MADE in metadata:
            return _without_checks(inner)
        case dict():
            return {key: _without_checks(value) for key, value in schema.items()}
        case list() | tuple():
            return type(schema)(_without_checks(each) for each in schema)
        case _:
            return schema

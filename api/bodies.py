"""Checks the JSON bodies of requests in slices, before anything else is made of them.

A body of up to 16 KB is parsed at once, and FastAPI validates it. Of a longer one the outline is taken first, then each
field and each item of a list of objects is parsed and validated on its own.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from api.body_outline import ExcessiveError, Field, MalformedError, NoObjectError, Outline, Span
from api.body_shape import NO_SHAPE, Excess, Location, Shape, excess_error, shape_of
from api.problems import MOST_ERRORS
from eventstore.turns import Steps, run_in_turns

AT_ONCE_BYTES: Final = 16 * 1024


class CheckedRequest(Request):
    """A request whose body was parsed before FastAPI asks for it."""

    value: Any = None

    async def json(self) -> Any:
        return self.value


class BodyCheck:
    """Knows the model of one route's bodies."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._shape = shape_of(model)
        self._items = _lists_of_models(model)

    async def check(self, request: CheckedRequest) -> None:
        """Receive the body and parse it; a long one is validated too.

        Raises:
            RequestValidationError: it is not valid.
            ClientDisconnect: it was cut off.
        """
        content = await request.body()
        if b"json" not in request.headers.get("content-type", "").lower().encode("latin-1"):
            return  # FastAPI says what is wrong with it
        if len(content) <= AT_ONCE_BYTES:
            request.value = self._at_once(content) if content else None
        else:
            request.value = await run_in_turns(self.steps(content))

    def _at_once(self, content: bytes) -> Any:
        value = _parsed(content, (0, len(content)))
        _require(self._shape, value, ("body",))
        return value

    def steps(self, content: bytes) -> Steps[BaseModel]:
        """Return the model that a long body makes.

        Raises:
            RequestValidationError: it is not valid.
        """
        lists = {name: self._most(name) for name in self._items}
        try:
            fields = yield from Outline(content, lists).fields()
        except MalformedError as error:
            raise _malformed(error.position, "the text ends or goes on where it should not") from error
        except NoObjectError as error:
            message = "Input should be a valid dictionary or object"
            raise RequestValidationError([excess_error("model_attributes_type", ("body",), message)]) from error
        except ExcessiveError as error:
            location = ("body", *error.location)
            raise RequestValidationError([excess_error(error.code, location, error.message)]) from error
        values: dict[str, Any] = {}
        for field in fields:
            values[field.name] = yield from self._value(content, field)
        yield
        _require(Shape(fields=dict.fromkeys(self._shape.fields or {}, NO_SHAPE)), values, ("body",))
        try:
            model = self._model.model_validate(values)
        except ValidationError as error:
            raise RequestValidationError(_located(error, ("body",))) from error
        yield
        return model

    def _most(self, name: str) -> int:
        return (self._shape.fields or {})[name].most_items or 0

    def _value(self, content: bytes, field: Field) -> Steps[Any]:
        shape = (self._shape.fields or {}).get(field.name, NO_SHAPE)
        if field.items is None:
            value = _parsed(content, field.value)
            yield
            _require(shape, value, ("body", field.name))
            return value
        return (yield from self._validated_items(content, field, field.items, shape.items or NO_SHAPE))

    def _validated_items(self, content: bytes, field: Field, items: list[Span], shape: Shape) -> Steps[list[Any]]:
        adapter = self._items[field.name]
        valid: list[Any] = []
        errors: list[Excess] = []
        for number, span in enumerate(items):
            value = _parsed(content, span)
            yield
            location = ("body", field.name, number)
            excess = shape.excess(value, location)
            try:
                if excess is None:
                    valid.append(adapter.validate_python(value))
                else:
                    errors.append(excess)
            except ValidationError as error:
                errors += _located(error, location)
            yield
            if len(errors) > MOST_ERRORS:
                break
        if errors:
            raise RequestValidationError(errors)
        return valid


def _lists_of_models(model: type[BaseModel]) -> Mapping[str, TypeAdapter[Any]]:
    """Return what validates one item of each field that is a list of objects."""
    found = {}
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) in {tuple, list}:
            item = get_args(field.annotation)[0]
            if isinstance(item, type) and issubclass(item, BaseModel):
                found[name] = TypeAdapter(item)
    return found


def _parsed(content: bytes, span: Span) -> Any:
    start, end = span
    try:
        return json.loads(content[start:end])
    except json.JSONDecodeError as error:
        raise _malformed(start + error.pos, error.msg) from error
    except (ValueError, RecursionError) as error:
        raise _malformed(start, "no JSON, or not in UTF-8, or nested too deep, or with a number too long") from error


def _malformed(position: int, message: str) -> RequestValidationError:
    error = excess_error("json_invalid", ("body", position), "JSON decode error")
    return RequestValidationError([error | {"ctx": {"error": message}}])


def _require(shape: Shape, value: Any, location: Location) -> None:
    excess = shape.excess(value, location)
    if excess is not None:
        raise RequestValidationError([excess])


def _located(error: ValidationError, location: Location) -> list[Excess]:
    return [
        {**each, "loc": (*location, *each["loc"])}
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]

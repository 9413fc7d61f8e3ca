"""The outer shape of a request's body: how many fields its objects and how many items its lists may have.

Pydantic looks at every item of a list, and notes an error for each of them and for each unknown field before it refuses
any. So these are counted first, in a time that depends on the model alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

MOST_UNKNOWN_FIELDS: Final = 20
"""More unknown fields than these are not named one by one."""

Location = tuple[str | int, ...]
Excess = dict[str, Any]
"""An error as pydantic gives it."""


class UnboundedListError(TypeError):
    """A list in the body of a request has no `max_length`: give it one, or its items are looked at without end."""

    def __init__(self, model: str, field_name: str) -> None:
        super().__init__(f"{model}.{field_name} has no max_length: give the list one")


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a JSON value; a value that is neither an object with named fields nor a list has no parts that count."""

    fields: Mapping[str, "Shape"] | None = None
    most_items: int | None = None
    items: "Shape | None" = None

    def excess(self, value: Any, location: Location = ()) -> Excess | None:
        """Return the first error of a value with too many parts."""
        if isinstance(value, dict) and self.fields is not None:
            return self._excess_fields(value, self.fields, location)
        if isinstance(value, list) and self.most_items is not None:
            return self._excess_items(value, self.most_items, location)
        return None

    def _excess_fields(self, value: dict[str, Any], fields: Mapping[str, "Shape"], location: Location) -> Excess | None:
        most = len(fields) + MOST_UNKNOWN_FIELDS
        if len(value) > most:
            return excess_error("too_many_fields", location, f"Object has {len(value)} fields, and {len(fields)} exist")
        found = (shape.excess(value[name], (*location, name)) for name, shape in fields.items() if name in value)
        return next((each for each in found if each is not None), None)

    def _excess_items(self, value: list[Any], most: int, location: Location) -> Excess | None:
        if len(value) > most:
            return excess_error("too_long", location, f"List should have at most {most} items, not {len(value)}")
        if self.items is None:
            return None
        found = (self.items.excess(item, (*location, number)) for number, item in enumerate(value))
        return next((each for each in found if each is not None), None)


NO_SHAPE: Final = Shape()


def excess_error(code: str, location: Location, message: str) -> Excess:
    return {"type": code, "loc": location, "msg": message}


def shape_of(model: type[BaseModel]) -> Shape:
    """Return the shape of a body.

    Raises:
        UnboundedListError: it has a list of any length.
    """
    schema = model.model_json_schema()
    return _Shapes(model.__name__, schema.get("$defs", {})).of(schema, "")


@dataclass(frozen=True, slots=True)
class _Shapes:
    model: str
    definitions: Mapping[str, Any] = field(default_factory=dict)

    def of(self, schema: Any, name: str) -> Shape:
        match schema:
            case {"$ref": str(reference)}:
                return self.of(self.definitions[reference.rpartition("/")[2]], name)
            case {"anyOf": list(choices)} | {"oneOf": list(choices)} | {"allOf": list(choices)}:
                shapes = (self.of(choice, name) for choice in choices)
                return next((shape for shape in shapes if shape != NO_SHAPE), NO_SHAPE)
            case {"type": "object", "properties": dict(properties)}:
                return Shape(fields={each: self.of(schema, each) for each, schema in properties.items()})
            case {"type": "array", "maxItems": int(most), "items": items}:
                return Shape(most_items=most, items=self._or_none(self.of(items, name)))
            case {"type": "array"}:
                raise UnboundedListError(self.model, name)
            case _:
                return NO_SHAPE

    def _or_none(self, shape: Shape) -> Shape | None:
        return None if shape == NO_SHAPE else shape

"""The whole corpus: each step with the shapes that it meets, in CI and at full size."""

from collections.abc import Callable, Mapping

from tests.texts.fields import field_steps
from tests.texts.files import FILE_STEPS
from tests.texts.shapes import EACH_CHARACTER, SEQUENCES, Shape
from tests.texts.steps import TEXT_STEPS, Step

Shapes = Callable[..., Mapping[str, Shape]]

_WITH_EACH_CHARACTER = frozenset({"clean", "passages of an entry by words", "terms", "plain text"})
"""In CI; at full size every step meets each character."""


def _shapes(name: str, own: Mapping[str, Shape]) -> Shapes:
    def shapes(*, full: bool) -> Mapping[str, Shape]:
        return {**EACH_CHARACTER, **own} if full or name in _WITH_EACH_CHARACTER else own

    return shapes


def _only(own: Mapping[str, Shape]) -> Shapes:
    return lambda *, full: own


GROUPS: Mapping[str, Mapping[str, tuple[Step, Shapes]]] = {
    "texts": {name: (step, _shapes(name, SEQUENCES)) for name, step in TEXT_STEPS.items()},
    "fields": {name: (step, _shapes(name, SEQUENCES)) for name, step in field_steps().items()},
    "files": {
        name: (step, _shapes(name, shapes) if SEQUENCES.items() <= shapes.items() else _only(shapes))
        for name, (step, shapes) in FILE_STEPS.items()
    },
}

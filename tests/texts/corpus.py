"""The whole corpus: each step with the shapes that it meets, in CI and at full size."""

from collections.abc import Callable, Mapping

from tests.texts.fields import field_steps
from tests.texts.files import FILE_STEPS
from tests.texts.shapes import EACH_CHARACTER, SEQUENCES, Shape
from tests.texts.steps import TEXT_STEPS, Step

Shapes = Callable[..., Mapping[str, Shape]]

_WITH_EACH_CHARACTER = frozenset({"clean", "passages of an entry by words", "terms", "plain text"})
"""In CI; at full size every step meets each character."""


IN_CI = frozenset(
    {
        "clean",
        "detect",
        "passages of an entry by words",
        "passages of an entry by word pieces",
        "passages under short headings",
        "content of a document",
        "terms",
        "highlight",
        "a PDF's page of hyphens",
    }
)
"""The steps that the others are made of."""
_FEW = (
    "letters",
    "astral Han",
    "controls",
    "escapes",
    "letters that become eighteen",
    "marks of many classes on a letter",
)


def _shapes(name: str, own: Mapping[str, Shape]) -> Shapes:
    def shapes(*, full: bool) -> Mapping[str, Shape]:
        return {**EACH_CHARACTER, **own} if full or name in _WITH_EACH_CHARACTER else own

    return shapes


def _together(steps: Mapping[str, Step]) -> Step:
    """All fields one after the other, each with as much of the text as it takes, so that one process measures them."""

    def run(text: str) -> int:
        return max(step.run(text[: step.most]) - 8 * min(len(text), step.most) for step in steps.values())

    return Step(run, least=256_000)


def _only(own: Mapping[str, Shape]) -> Shapes:
    return lambda *, full: own  # noqa: ARG005 - as the others are asked


GROUPS: Mapping[str, Mapping[str, tuple[Step, Shapes]]] = {
    "texts": {name: (step, _shapes(name, SEQUENCES)) for name, step in TEXT_STEPS.items()},
    "fields": {"all": (_together(field_steps()), _only({name: SEQUENCES[name] for name in _FEW}))},
    "files": {
        name: (step, _shapes(name, shapes) if SEQUENCES.items() <= shapes.items() else _only(shapes))
        for name, (step, shapes) in FILE_STEPS.items()
    },
}

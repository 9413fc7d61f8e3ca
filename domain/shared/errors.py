"""The base of every refusal of the business: a named sentence with data."""

import dataclasses
from typing import ClassVar


@dataclasses.dataclass(eq=False)
class DomainError(Exception):
    """The business refuses this.

    A subclass is a dataclass: its name is the stable code, the first line of its docstring is the sentence that people
    read, its fields are the data. The domain knows no HTTP; the API has one table that maps each class to a status.
    """

    remembered: ClassVar[bool] = True
    """Whether the same idempotency key is answered with this refusal again; not so for what a retry may change."""

    def __str__(self) -> str:
        return self.detail()

    def detail(self) -> str:
        """Return the sentence, and what this very refusal knows beyond it, where a subclass adds that."""
        return self.sentence()

    @classmethod
    def sentence(cls) -> str:
        """Return what people read: the first line of the class's docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def data(self) -> dict[str, str | int]:
        """Return the fields as JSON values."""
        return {
            field.name: value if isinstance(value := getattr(self, field.name), int) else str(value)
            for field in dataclasses.fields(self)
        }

"""What the platform needs from an embedding model and a text analyzer: the ports that reads and writes share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class EmbeddingModel:
    """What identifies the vectors of a model: two generations of an index never mix models.

    Attributes:
        name: the model's public name, such as ``all-MiniLM-L6-v2``.
        revision: changes whenever the same text may give another vector (weights, quantisation, pooling).
        dimension: the length of every vector.
        max_tokens: the longest input, in the model's own tokens, special tokens included.
        languages: ISO 639-1 codes of the languages that the model was trained for.
    """

    name: str
    revision: str
    dimension: int
    max_tokens: int
    languages: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name under which vectors of this model are cached."""
        return f"{self.name}@{self.revision}"


class Tokenizer(Protocol):
    """Counts and locates a model's tokens, so that a chunk never exceeds the model's limit."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of every token of `text`, special tokens left out."""
        ...


class Embedder(Protocol):
    """Turns texts into unit vectors of `model.dimension` floats, in the order given."""

    @property
    def model(self) -> EmbeddingModel: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]: ...


class Analyzer(Protocol):
    """Turns text into the terms of the full-text leg; indexing and asking must use the same one."""

    @property
    def identity(self) -> str:
        """Changes whenever the same text may give other terms; a generation of the text leg carries it."""
        ...

    def terms(self, text: str) -> list[str]:
        """Return the terms of `text` in order, repeated as often as they occur."""
        ...

    def spans_of(self, terms: Collection[str], text: str) -> list[tuple[int, int]]:
        """Return (start, end) of each of `terms` in `text`, in order of their start: character offsets into it."""
        ...

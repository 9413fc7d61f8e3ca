"""What was extracted from a document: its text and the passages that are searched and cited."""

from pydantic import BaseModel, ConfigDict


class Passage(BaseModel):
    """A stretch of a source's text; `text` is exactly the source's text from `start` to `end`.

    `embedded` is what its vector is made of: the title, and the passage with as much around it as the model reads.
    """

    model_config = ConfigDict(frozen=True)

    ordinal: int
    start: int
    end: int
    text: str
    embedded: str
    heading_path: tuple[str, ...]
    page: int | None


class DocumentContent(BaseModel):
    """Stored as JSON in the blob store, named by the hash that the event `DocumentProcessed` holds."""

    model_config = ConfigDict(frozen=True)

    text: str
    passages: tuple[Passage, ...]

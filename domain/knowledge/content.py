"""What was extracted from a document: its text and the passages that are searched and cited."""

from pydantic import BaseModel, ConfigDict


class Passage(BaseModel):
    """A stretch of a document's text; `text` is exactly the document's text from `start` to `end`."""

    model_config = ConfigDict(frozen=True)

    ordinal: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    page: int | None


class DocumentContent(BaseModel):
    """Stored as JSON in the blob store, named by the hash that the event `DocumentProcessed` holds."""

    model_config = ConfigDict(frozen=True)

    text: str
    passages: tuple[Passage, ...]

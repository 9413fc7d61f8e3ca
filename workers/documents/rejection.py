"""Why a document could not be read: a stable code for programs and a sentence for its owner."""

from enum import StrEnum


class Reason(StrEnum):
    """The stable reason codes; clients and read models rely on their spelling."""

    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    NO_TEXT_NEEDS_OCR = "no_text_needs_ocr"
    TIMEOUT = "timeout"


class DocumentRejected(Exception):
    """The document cannot be read, and trying again would not help.

    Attributes:
        reason: the stable code.
        sentence: what the user is told.
    """

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(reason, sentence)
        self.reason = reason
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.reason}: {self.sentence}"

"""How much a document may cost: the bounds of its size and of the process that reads it."""

from dataclasses import dataclass

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Bounds for reading one document; the defaults leave a 600-page book two orders of magnitude of room.

    Attributes:
        max_bytes: of the file itself.
        max_text_characters: of the text that comes out.
        max_unpacked_bytes: of all members of a ZIP container together.
        max_members: of a ZIP container.
        max_compression_ratio: unpacked to packed size of a ZIP member above 1 MiB.
        seconds: of wall-clock time, and as many of processor time.
        memory_bytes: of address space of the parsing process, its libraries included.
    """

    max_bytes: int = 50 * _MEBIBYTE
    max_text_characters: int = 10_000_000
    max_unpacked_bytes: int = 256 * _MEBIBYTE
    max_members: int = 5_000
    max_compression_ratio: int = 200
    seconds: float = 120.0
    memory_bytes: int = 1024 * _MEBIBYTE

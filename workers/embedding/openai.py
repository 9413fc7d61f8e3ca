"""An embedder behind HTTP: any server that speaks OpenAI's embeddings protocol, such as vLLM or Ollama."""

import asyncio
import math
from collections.abc import Sequence

import openai
from openai.types import CreateEmbeddingResponse

from domain.shared.text import EmbeddingModel
from workers.embedding.errors import EmbedderBusy, EmbedderRefused, EmbedderUnavailable

_TEXTS_AT_ONCE = 64
_REQUESTS_AT_ONCE = 4
_RETRIES = 4
_TIMEOUT_SECONDS = 60.0
_BUSY = frozenset({429, 502, 503, 504})
_NO_TEXT = "\N{REPLACEMENT CHARACTER}"  # the protocol has no vector of an empty text
_NO_KEY = "none"  # the client wants one; servers without keys don't look


class OpenAIEmbedder:
    """Asks in batches, a few at once. The client itself asks again where the server is busy or away.

    Args:
        url: up to the version, such as ``https://api.openai.com/v1``.
        model: what identifies the vectors; its name is what the server is asked for.
        api_key: sent as a bearer token; None for servers that want none.
        retries: how often a request is sent again, after pauses that grow or that the server asks for.
    """

    def __init__(self, url: str, model: EmbeddingModel, api_key: str | None, *, retries: int = _RETRIES) -> None:
        self._model = model
        self._url = url
        self._client = openai.AsyncOpenAI(
            base_url=url, api_key=api_key or _NO_KEY, max_retries=retries, timeout=_TIMEOUT_SECONDS
        )
        self._free = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    @property
    def model(self) -> EmbeddingModel:
        """What identifies these vectors."""
        return self._model

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one unit vector per text, in the order given.

        Raises:
            EmbedderUnavailable: the server is away, also after some tries.
            EmbedderBusy: it takes no more for now.
            EmbedderRefused: it does not take the request, or answers something else than asked for.
        """
        batches = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._batch(batch)) for batch in batches]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the others were ended because of it
        return [vector for task in asked for vector in task.result()]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _batch(self, texts: Sequence[str]) -> list[list[float]]:
        try:
            async with self._free:
                answer = await self._client.embeddings.create(
                    model=self._model.name, input=[text or _NO_TEXT for text in texts], encoding_format="float"
                )
        except openai.APIStatusError as error:
            kind = EmbedderBusy if error.status_code in _BUSY else EmbedderRefused
            raise kind(f"{self._url}: {error}") from error
        except openai.APIConnectionError as error:
            raise EmbedderUnavailable(f"{self._url}: {error}") from error
        except openai.OpenAIError as error:
            raise EmbedderRefused(f"{self._url}: {error}") from error
        return self._vectors(answer, len(texts))

    def _vectors(self, answer: CreateEmbeddingResponse, count: int) -> list[list[float]]:
        by_index = {each.index: each.embedding for each in answer.data or ()}
        if sorted(by_index) != list(range(count)):
            raise EmbedderRefused(f"{self._url} answered {len(by_index)} embeddings for {count} texts")
        return [_unit(by_index[index], self._model.dimension) for index in range(count)]


def _unit(vector: list[float], dimension: int) -> list[float]:
    if len(vector) != dimension:
        raise EmbedderRefused(
            f"an embedding has {len(vector)} dimensions, and {dimension} are configured: set embedding_dimension"
        )
    length = math.sqrt(math.fsum(each * each for each in vector))
    if not math.isfinite(length) or length == 0:
        raise EmbedderRefused("an embedding has no direction")
    return [each / length for each in vector]

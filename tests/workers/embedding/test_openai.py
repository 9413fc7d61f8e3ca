"""The embedder behind HTTP, against a server that speaks the protocol."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from domain.shared.text import EmbeddingModel
from varve.bootstrap import embedder
from varve.settings import Settings
from workers.embedding.errors import EmbedderRefused, EmbedderUnavailable
from workers.embedding.openai import OpenAIEmbedder

MODEL = EmbeddingModel(name="small", revision="1", dimension=3, max_tokens=100, languages=())
KEY = "a key that only this test knows"


@dataclass
class Server:
    """Answers the length of each text as a direction; before that with `failures`, one for each request."""

    failures: list[Response] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    dimension: int = 3
    url: str = ""
    _now: int = 0

    async def answer(self, request: Request) -> Response:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            await asyncio.sleep(0.01)
            return self._answer(await request.json(), request.headers.get("Authorization"))
        finally:
            self._now -= 1

    def _answer(self, content: dict[str, Any], authorization: str | None) -> Response:
        self.requests.append(content)
        self.authorizations.append(authorization)
        if self.failures:
            return self.failures.pop(0)
        data = [
            {"object": "embedding", "index": index, "embedding": [len(text), 4.0, 0.0, 0.0][: self.dimension]}
            for index, text in enumerate(content["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return JSONResponse({"object": "list", "model": content["model"], "data": data[::-1], "usage": usage})


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server, app = Server(), FastAPI()
    app.add_api_route("/v1/embeddings", server.answer, methods=["POST"])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False)
    running = uvicorn.Server(config)
    running.install_signal_handlers = contextlib.nullcontext  # type: ignore[attr-defined]
    task = asyncio.create_task(running.serve())
    while not running.started:  # noqa: ASYNC110 - the server's own flag
        await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield server
    finally:
        running.should_exit = True
        await task


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture
async def asking(server: Server) -> AsyncIterator[OpenAIEmbedder]:
    client = OpenAIEmbedder(server.url, MODEL, KEY, retries=3)
    yield client
    await client.close()


async def test_every_text_has_its_unit_vector_in_the_order_given(server, asking):
    texts = ["abc", "", "a" * 300]
    vectors = await asking.embed(texts)
    lengths = [3, 1, 300]  # an empty text is asked for as a mark
    assert vectors == [pytest.approx([n / math.hypot(n, 4), 4 / math.hypot(n, 4), 0]) for n in lengths]
    (request,) = server.requests
    assert (request["model"], request["encoding_format"]) == ("small", "float")
    assert server.authorizations == [f"Bearer {KEY}"]


async def test_many_texts_go_in_batches_a_few_at_once(server, asking):
    texts = [f"{number:04}" for number in range(1000)]
    assert len(await asking.embed(texts)) == 1000
    assert sum(len(request["input"]) for request in server.requests) == 1000
    assert max(len(request["input"]) for request in server.requests) <= 64
    assert 1 < server.most_at_once <= 4


async def test_nothing_asks_for_nothing(server, asking):
    assert await asking.embed([]) == []
    assert server.requests == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_is_asked_again(server, asking, status):
    server.failures = [Response(status_code=status, headers={"Retry-After": "0"}) for _ in range(2)]
    assert len(await asking.embed(["a"])) == 1
    assert len(server.requests) == 3


async def test_one_that_stays_busy_is_unavailable(server, asking):
    server.failures = [Response(status_code=503, headers={"Retry-After": "0"}) for _ in range(9)]
    with pytest.raises(EmbedderUnavailable, match="503"):
        await asking.embed(["a"])
    assert len(server.requests) == 4


async def test_one_that_is_away_is_unavailable():
    async with serving() as server:
        url = server.url
    client = OpenAIEmbedder(url, MODEL, None, retries=0)
    with pytest.raises(EmbedderUnavailable):
        await client.embed(["a"])
    await client.close()


def embeddings(index: int, *vector: float) -> Response:
    data = [{"object": "embedding", "index": index, "embedding": vector}]
    return JSONResponse({"object": "list", "model": "small", "data": data})


REFUSALS = {
    "a wrong key": JSONResponse({"error": {"message": "no such key"}}, status_code=401),
    "an unknown model": JSONResponse({"error": {"message": "no such model"}}, status_code=404),
    "no embeddings": JSONResponse({"object": "list", "model": "small", "data": []}),
    "another number": embeddings(1, 1.0, 0.0, 0.0),
    "no direction": embeddings(0, 0.0, 0.0, 0.0),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_what_can_not_be_mended_by_asking_again_is_said_at_once(server, asking, refusal):
    server.failures = [refusal]
    with pytest.raises(EmbedderRefused):
        await asking.embed(["a"])
    assert len(server.requests) == 1


async def test_vectors_of_another_dimension_are_refused_with_what_to_do(server, asking):
    server.dimension = 2
    with pytest.raises(EmbedderRefused, match="embedding_dimension"):
        await asking.embed(["a"])


def test_the_settings_say_what_is_missing(tmp_path):
    with pytest.raises(ValidationError, match="embedding_model, embedding_dimension"):
        Settings(data_directory=tmp_path, embedder="openai", embedding_url="http://localhost/v1")


async def test_it_is_made_of_the_settings(server, tmp_path):
    settings = Settings(
        data_directory=tmp_path,
        embedder="openai",
        embedding_url=server.url,
        embedding_model="small",
        embedding_dimension=3,
        embedding_revision="2026-11",
    )
    client = embedder(settings)
    assert (client.model.key, client.model.dimension) == ("small@2026-11", 3)
    assert len(await client.embed(["a"])) == 1

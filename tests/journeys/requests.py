"""What a client of documents and of the search sends."""

from dataclasses import dataclass
from typing import Any

from httpx import AsyncClient, Response

DOCUMENTS = "/api/v1/documents"
SEARCH = "/api/v1/search"
POSITION = "X-Position"
NOTE = "# Varves\n\nThe lake freezes in winter. Fine clay settles under the ice, layer upon layer.\n"


@dataclass(frozen=True)
class Processed:
    """A document whose processing has ended, and the position to find it by."""

    id: str
    url: str
    body: dict[str, Any]
    position: str


async def upload(
    client: AsyncClient, content: bytes | str = NOTE, name: str = "varves.md", kind: str = "text/markdown", **form: Any
) -> Response:
    data = content.encode() if isinstance(content, str) else content
    return await client.post(DOCUMENTS, files={"file": (name, data, kind)}, data=form)


async def until_processed(client: AsyncClient, response: Response) -> Processed:
    """Wait for what was uploaded, or asked to be processed again, as a client does."""
    assert response.status_code == 202, response.text
    url = response.headers["Location"]
    headers = {"X-Min-Position": response.headers[POSITION]}
    read = await client.get(url, params={"wait": "processed"}, headers=headers, timeout=60)
    assert read.status_code == 200, read.text
    return Processed(read.json()["document_id"], url, read.json(), read.headers[POSITION])


async def process(client: AsyncClient, content: bytes | str = NOTE, name: str = "varves.md", **form: Any) -> Processed:
    """Upload a document that can be read, and wait until it was."""
    document = await until_processed(client, await upload(client, content, name, **form))
    assert document.body["status"] == "processed", document.body
    return document


async def search(client: AsyncClient, q: str, position: str | None = None, **parameters: Any) -> dict[str, Any]:
    """Search what is indexed at `position` and return the answer."""
    headers = {} if position is None else {"X-Min-Position": position}
    response = await client.get(SEARCH, params={"q": q, **parameters}, headers=headers)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def sources(client: AsyncClient, q: str, position: str | None = None, **parameters: Any) -> list[str]:
    """Search and return the ids of the sources found, best first."""
    return [hit["source_id"] for hit in (await search(client, q, position, **parameters))["hits"]]

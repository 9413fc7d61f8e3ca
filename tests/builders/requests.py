"""Requests that many tests begin with."""

from dataclasses import dataclass
from typing import Any

from httpx import AsyncClient, Response

ENTRIES = "/api/v1/entries"


@dataclass(frozen=True)
class CreatedEntry:
    """An entry that the API made, and the position to read it back with."""

    id: str
    url: str
    position: str

    @property
    def seen(self) -> dict[str, str]:
        """The header that makes a query wait until it reflects the entry's creation."""
        return {"X-Min-Position": self.position}


async def create_entry(client: AsyncClient, **fields: Any) -> CreatedEntry:
    """Create an entry; it is called `Sediment` unless a name is given."""
    response = await client.post(ENTRIES, json={"name": "Sediment"} | fields)
    assert response.status_code == 201, response.text
    body = response.json()
    return CreatedEntry(body["aggregate_id"], response.headers["Location"], body["position"])


async def read_after(client: AsyncClient, url: str, written: Response, **parameters: Any) -> Response:
    """GET `url` as it is once it reflects what was `written`."""
    return await client.get(url, params=parameters, headers={"X-Min-Position": written.headers["X-Position"]})

"""A tenant that sends the worst that the API allows, beside the others: all that is accepted must be applied."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks import hostile
from tests.chaos.choices import new_word
from tests.chaos.requests import Exchange, File, Intent, Sender

TENANT, USER = "mallet", "mallory"

_PAUSE_SECONDS = (0.5, 2.0)
_BATCH = 20
"""Entries that are created at once: so few that one batch is not the whole log."""
_BODY_TIMES = 10
"""How much larger a body that must be refused is than a text."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long a hostile text is, and how many inputs are sent at the most; None is as many as the run has time for."""

    characters: int
    inputs: int | None


@dataclass
class HostileUser:
    """Sends the inputs of `benchmarks.hostile` in turn: one of each kind, then the next of each, in a seeded order."""

    sender: Sender
    choice: random.Random
    sizes: Sizes
    sent: Counter[str] = field(default_factory=Counter)
    """How many inputs of each kind were sent."""
    _keys: Iterator[int] = field(default_factory=itertools.count)
    _entries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._batches = hostile.batches(self.sizes.characters * _BATCH)
        self._searches = hostile.searches()

    async def run(self, is_over: asyncio.Event) -> None:
        """Send until told to stop; what was begun is brought to its end."""
        kinds: Mapping[str, tuple[Callable[[str], Awaitable[None]], Mapping[str, Any]]] = {
            "text": (self._send_text, hostile.TEXTS),
            "body": (self._send_body, hostile.BODIES),
            "batch": (self._send_batch, self._batches),
            "file": (self._send_file, hostile.FILES),
            "search": (self._search, self._searches),
        }
        orders = [[(kind, name) for name in self._shuffled(named)] for kind, (_, named) in kinds.items()]
        rounds = itertools.zip_longest(*orders)
        inputs = [each for in_turn in rounds for each in in_turn if each is not None]
        for kind, name in itertools.islice(itertools.cycle(inputs), self.sizes.inputs):
            if is_over.is_set():
                return
            await kinds[kind][0](name)
            self.sent[kind] += 1
            await asyncio.sleep(self.choice.uniform(*_PAUSE_SECONDS))

    def _shuffled(self, named: Mapping[str, Any]) -> list[str]:
        return self.choice.sample(sorted(named), len(named))

    async def _send_text(self, name: str) -> None:
        """Create an entry with the text, or give it to one that is there."""
        text = hostile.TEXTS[name](self.sizes.characters)
        if self._entries and self.choice.random() < 0.4:
            target, changes = self.choice.choice(self._entries), {"description": text}
            await self._command(
                Intent("update", "PATCH", f"/entries/{target}", body=changes, target=target, wanted=changes)
            )
            return
        entry = {"name": f"{new_word(self.choice)} {name}", "description": text}
        answer = await self._command(Intent("create", "POST", "/entries", body=entry, wanted=entry))
        self._entries += [answer["aggregate_id"]] if answer else []

    async def _send_batch(self, name: str) -> None:
        entries = [{**entry, "name": f"{new_word(self.choice)} {name}"} for entry in self._batches[name][:_BATCH]]
        await self._command(Intent("batch", "POST", "/entries:batch", body={"entries": entries}, wanted=entries))

    async def _send_file(self, name: str) -> None:
        shape, word = hostile.FILES[name], new_word(self.choice)
        file = File(f"{word}.{name}.{shape.suffix}", shape.content(word, self.sizes.characters), shape.media_type)
        await self._command(Intent("upload", "POST", "/documents", file=file, wanted={"file_name": file.name}))

    async def _send_body(self, name: str) -> None:
        """Send a body that must be refused, once: nobody repeats it until it is accepted."""
        body = hostile.BODIES[name]
        response = await self.sender.post(body.path, body.content(self.sizes.characters * _BODY_TIMES), self._key())
        if response is not None and not 400 <= response.status_code < 500:
            self.sender.ledger.violated(f"the body {name} was answered {response.status_code} {response.text[:300]}")

    async def _search(self, name: str) -> None:
        response = await self.sender.get("/search", **self._searches[name])
        if response is not None and response.status_code != 200:
            self.sender.ledger.violated(f"the search {name} was answered {response.status_code} {response.text[:300]}")

    async def _command(self, intent: Intent) -> Any:
        """Return the body of the answer; all of these commands are to be accepted."""
        key = self._key()
        answer, attempts = await self.sender.send(intent, key)
        ledger = self.sender.ledger
        ledger.exchanges.append(Exchange(self.sender.tenant, self.sender.user, key, intent, answer, attempts))
        if not answer.is_accepted:
            ledger.violated(f"{key} {intent.action} was answered {answer.status} {str(answer.body)[:300]}")
        return answer.body if answer.is_accepted else None

    def _key(self) -> str:
        return f"{self.sender.tenant}.{self.sender.user}.{next(self._keys)}"


def reasons_for(file_name: str) -> frozenset[str] | None:
    """Return the reasons for which a file of a hostile user may be rejected; None for other users' files."""
    parts = file_name.split(".")
    shape = hostile.FILES.get(parts[1]) if len(parts) == 3 else None
    return None if shape is None else shape.reasons

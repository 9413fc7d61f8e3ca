"""A steady load of commands, uploads and reads by the users of two tenants, every choice from a seed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from domain.shared.access import Actor, Role
from tests.chaos.choices import choices_of, new_word
from tests.chaos.requests import Answer, Exchange, File, Intent, Ledger, Sender
from tests.chaos.system import System
from varve.bootstrap import token_issuer

USERS = (("acme", "ann"), ("acme", "ben"), ("acme", "cyd"), ("umbra", "eve"), ("umbra", "ann"), ("umbra", "fay"))
UNREADABLE = ("broken.pdf", "blank.txt", "program.bin")
"""Names of uploads that must fail; those of the others end in something else."""

_PAUSE_SECONDS = (0.03, 0.3)
_REQUEST_SECONDS = 20.0
_REPEATED = 0.06
_SENT_TWICE = 0.06
_READ = 0.4
_CATEGORIES = ("clay", "silt", "sand")
_RELATIONS = ("explains", "contradicts", "follows")
_ACTIONS = {
    "create": 30,
    "update": 28,
    "delete": 8,
    "restore": 7,
    "link": 8,
    "unlink": 4,
    "batch": 3,
    "upload": 3,
    "upload_again": 0.5,
    "upload_empty": 0.2,
    "reprocess": 0.5,
    "delete_document": 0.3,
}


@dataclass
class Shared:
    """What the users of one tenant know of: ids in the order of their answers, and the links that were made."""

    entries: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    links: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class User:
    """One client, in a loop of its own."""

    sender: Sender
    shared: Shared
    choice: random.Random
    sent: int = 0
    files: list[File] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    async def run(self, is_over: asyncio.Event) -> None:
        """Send until told to stop; what was begun is brought to its end."""
        while not is_over.is_set():
            await self._command()
            await asyncio.sleep(self.choice.uniform(*_PAUSE_SECONDS))

    async def _command(self) -> None:
        self.sent += 1
        key = f"{self.sender.tenant}.{self.sender.user}.{self.sent}"
        intent = self._intent()
        twice = self.choice.random() < _SENT_TWICE
        outcomes = await asyncio.gather(*(self.sender.send(intent, key) for _ in range(2 if twice else 1)))
        answer = outcomes[0][0]
        for other, _ in outcomes[1:]:
            self._require_same(key, answer, other)
        if self.choice.random() < _REPEATED:
            repeated, _ = await self.sender.send(intent, key)
            self._require_same(key, answer, repeated)
        attempts = sum(count for _, count in outcomes)
        ledger = self.sender.ledger
        ledger.exchanges.append(Exchange(self.sender.tenant, self.sender.user, key, intent, answer, attempts))
        if answer.is_accepted:
            self._learn(intent, answer)
        elif answer.status not in {404, 409, 412, 422}:
            ledger.violated(f"{key} {intent.action} was answered {answer.status} {answer.body}")
        if answer.is_accepted and intent.action != "batch" and self.choice.random() < _READ:
            await self._read_back(answer)

    def _require_same(self, key: str, first: Answer, second: Answer) -> None:
        self.sender.ledger.repetitions += 1
        if (first.is_remembered or second.is_remembered) and first != second:
            self.sender.ledger.violated(f"{key} was answered {first} and then {second}")

    def _learn(self, intent: Intent, answer: Answer) -> None:
        match intent.action:
            case "create":
                self.shared.entries.append(answer.body["aggregate_id"])
            case "batch":
                self.shared.entries.extend(answer.body["entry_ids"])
            case "upload" | "upload_again":
                self.shared.documents.append(answer.body["aggregate_id"])
                if intent.file is not None and intent.file not in self.files:
                    self.files.append(intent.file)
            case "link":
                self.shared.links.append((str(intent.target), intent.wanted["target_id"], intent.wanted["relation"]))
            case _:
                pass
        if intent.target is not None and answer.etag is not None:
            self.versions[intent.target] = answer.version

    async def _read_back(self, answer: Answer) -> None:
        """Read what was just written, as it is at the command's position or later."""
        aggregate_id = answer.body["aggregate_id"] if answer.body else None
        if aggregate_id is None:
            return
        kind = "documents" if aggregate_id in self.shared.documents else "entries"
        response = await self.sender.get(f"/{kind}/{aggregate_id}", answer.position)
        if response is None:
            return
        self.sender.ledger.reads_checked += 1
        if response.status_code != 200 or response.json()["version"] < answer.version:
            self.sender.ledger.violated(f"{answer} was read back as {response.status_code} {response.text[:300]}")

    def _intent(self) -> Intent:
        action = self.choice.choices(list(_ACTIONS), list(_ACTIONS.values()))[0]
        needs: dict[str, list[Any]] = {
            "upload_again": self.files,
            "unlink": self.shared.links,
            "reprocess": self.shared.documents,
            "delete_document": self.shared.documents,
        }
        if not needs.get(action, self.shared.entries[:1] or action == "create"):
            action = "create"
        makers: dict[str, Callable[[], Intent]] = {
            "create": self._create,
            "update": self._update,
            "delete": lambda: self._on_entry("delete", "DELETE", ""),
            "restore": lambda: self._on_entry("restore", "POST", "/restore"),
            "link": self._link,
            "unlink": self._unlink,
            "batch": self._batch,
            "upload": self._upload,
            "upload_again": lambda: self._file_intent("upload_again", self.choice.choice(self.files)),
            "upload_empty": lambda: self._file_intent("upload_empty", File("empty.txt", b"", "text/plain")),
            "reprocess": lambda: self._on_document("reprocess", "POST", "/reprocess"),
            "delete_document": lambda: self._on_document("delete_document", "DELETE", ""),
        }
        return makers[action]()

    def _create(self) -> Intent:
        entry = self._entry()
        return Intent("create", "POST", "/entries", body=entry, wanted=entry)

    def _batch(self) -> Intent:
        entries = [self._entry() for _ in range(self.choice.randint(2, 12))]
        return Intent("batch", "POST", "/entries:batch", body={"entries": entries}, wanted=entries)

    def _update(self) -> Intent:
        target = self.choice.choice(self.shared.entries[-200:])
        fields = self._entry()
        changes = {name: fields[name] for name in self.choice.sample(sorted(fields), self.choice.randint(1, 3))}
        seen = self.versions.get(target) if self.choice.random() < 0.3 else None
        return Intent("update", "PATCH", f"/entries/{target}", changes, None, seen, target, changes)

    def _link(self) -> Intent:
        target, other = (self.choice.choice(self.shared.entries[-50:]) for _ in range(2))
        link = {"target_id": other, "relation": self.choice.choice(_RELATIONS)}
        return Intent("link", "POST", f"/entries/{target}/links", body=link, target=target, wanted=link)

    def _unlink(self) -> Intent:
        target, other, relation = self.choice.choice(self.shared.links)
        link = {"target_id": other, "relation": relation}
        path = f"/entries/{target}/links?target_id={other}&relation={relation}"
        return Intent("unlink", "DELETE", path, target=target, wanted=link)

    def _on_entry(self, action: str, method: str, suffix: str) -> Intent:
        target = self.choice.choice(self.shared.entries[-100:])
        return Intent(action, method, f"/entries/{target}{suffix}", target=target)

    def _on_document(self, action: str, method: str, suffix: str) -> Intent:
        target = self.choice.choice(self.shared.documents)
        return Intent(action, method, f"/documents/{target}{suffix}", target=target)

    def _upload(self) -> Intent:
        word = new_word(self.choice)
        text = " ".join(f"{word} is a layer of {self.choice.choice(_CATEGORIES)}." for _ in range(20))
        broken, blank, program = UNREADABLE
        file = self.choice.choice(
            [
                File(f"{word}.md", f"# {word}\n\n{text}\n".encode(), "text/markdown"),
                File(f"{word}.txt", text.encode(), "text/plain"),
                File(f"{word}.html", f"<html><body><h1>{word}</h1><p>{text}</p></body></html>".encode(), "text/html"),
                File(broken, f"%PDF-1.7\n{word}".encode(), "application/pdf"),
                File(blank, b" " * (self.sent + 1) + b"\n", "text/plain"),
                File(program, b"\x7fELF" + bytes(range(200)) + word.encode(), "application/octet-stream"),
            ]
        )
        return self._file_intent("upload", file)

    def _file_intent(self, action: str, file: File) -> Intent:
        return Intent(action, "POST", "/documents", file=file, wanted={"file_name": file.name})

    def _entry(self) -> dict[str, Any]:
        return {
            "name": f"{new_word(self.choice)} {self.choice.choice(_CATEGORIES)}",
            "description": f"A layer of {self.choice.choice(_CATEGORIES)}, {self.choice.randint(1, 99)} years old.",
            "category": self.choice.choice(_CATEGORIES),
            "tags": sorted(self.choice.sample(_CATEGORIES, self.choice.randint(0, 3))),
            "attributes": {"years": self.choice.randint(1, 9)},
        }


@asynccontextmanager
async def senders(system: System, ledger: Ledger) -> AsyncIterator[list[Sender]]:
    """Open a client for each of `USERS`."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(sender(system, ledger, tenant, user, Role.ADMIN)) for tenant, user in USERS
        ]


@asynccontextmanager
async def sender(system: System, ledger: Ledger, tenant: str, user: str, role: Role) -> AsyncIterator[Sender]:
    """Open a client for someone."""
    actor = Actor(tenant=tenant, user=user, roles=frozenset({role}))
    token = token_issuer(system.settings).issue(actor, timedelta(hours=2))
    async with httpx.AsyncClient(
        base_url=f"{system.url}/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=_REQUEST_SECONDS,
        trust_env=False,
    ) as http:
        yield Sender(http, tenant, user, ledger)


async def run_load(clients: list[Sender], seed: int, is_over: asyncio.Event) -> None:
    """Run all users until `is_over`; return when each command that was begun is answered."""
    tenants = {sender.tenant: Shared() for sender in clients}
    async with asyncio.TaskGroup() as group:
        for number, sender in enumerate(clients):
            user = User(sender, tenants[sender.tenant], choices_of(seed, f"user {number}"))
            group.create_task(user.run(is_over))

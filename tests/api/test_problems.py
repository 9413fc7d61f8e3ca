"""Every error is a problem document with a status from the one table."""

import importlib
import pkgutil

import pytest
from httpx import AsyncClient

import commands
import domain
import eventstore
import queries
from api.problems import STATUSES
from domain.shared.errors import DomainError
from eventstore.errors import EventStoreError
from tests.api.problem import require_problem
from tests.builders.requests import ENTRIES, create_entry

pytestmark = pytest.mark.usefixtures("engine")


def every_subclass_of(base):
    for package in (domain, commands, queries, eventstore):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    pending, found = [base], set()
    while pending:
        pending += (subclasses := pending.pop().__subclasses__())
        found.update(subclasses)
    return {found_class for found_class in found if not found_class.__module__.startswith("tests.")}


def test_every_refusal_has_a_status():
    assert every_subclass_of(DomainError) - set(STATUSES) == set()


def test_the_table_names_only_errors_that_exist():
    assert set(STATUSES) - every_subclass_of(DomainError) - every_subclass_of(EventStoreError) == set()


def test_every_refusal_is_a_sentence():
    for error in every_subclass_of(DomainError):
        sentence = error.sentence()
        assert sentence.endswith("."), error
        assert not sentence.startswith(f"{error.__name__}("), f"{error.__name__} has no docstring of its own"


async def test_an_unknown_path_is_not_found(ann: AsyncClient):
    require_problem(await ann.get("/api/v1/nothing"), 404, "not-found")


async def test_a_trailing_slash_is_another_path(ann: AsyncClient):
    require_problem(await ann.get(f"{ENTRIES}/"), 404, "not-found")


async def test_a_method_that_a_path_does_not_have_is_refused(ann: AsyncClient):
    refused = await ann.put(ENTRIES, json={})
    require_problem(refused, 405, "method-not-allowed")
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "POST"}


async def test_a_refusal_carries_its_data_and_a_sentence(ann: AsyncClient):
    entry = await create_entry(ann)
    refused = await ann.post(f"{entry.url}/restore")
    require_problem(refused, 409, "entry-is-not-deleted")
    assert refused.json() == {
        "type": "urn:varve:problem:entry-is-not-deleted",
        "title": "Conflict",
        "status": 409,
        "detail": "The entry is not deleted, so there is nothing to restore.",
        "entry_id": entry.id,
    }


async def test_an_invalid_body_says_where(ann: AsyncClient):
    refused = await ann.post(ENTRIES, json={"name": "", "tags": ["x", 1]})
    require_problem(refused, 422, "invalid-request")
    assert [error["location"] for error in refused.json()["errors"]] == [["body", "name"], ["body", "tags", 1]]


async def test_an_invalid_body_is_not_shown_again(ann: AsyncClient):
    secret = "a very secret text " * 40
    refused = await ann.post(ENTRIES, json={"name": secret, "visibility": secret})
    require_problem(refused, 422, "invalid-request")
    assert "very secret" not in refused.text


async def test_a_bug_is_a_problem_that_tells_nothing(ann: AsyncClient, api, monkeypatch):
    async def break_down(*_):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(type(api.state.services.commands), "execute", break_down)
    broken = await ann.post(ENTRIES, json={"name": "Varve"})
    require_problem(broken, 500, "internal-error")
    assert "secret" not in broken.text


async def test_every_answer_carries_a_correlation_id(ann: AsyncClient):
    for answer in (await ann.get(ENTRIES), await ann.get("/api/v1/nothing"), await ann.post(ENTRIES, json={})):
        assert len(answer.headers["X-Correlation-Id"]) == 36

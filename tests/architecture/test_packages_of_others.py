"""Who may import other people's packages: each stays in the folder that translates its errors and types."""

import sys

import pytest

from tests.architecture.source import PACKAGES, Module, imports, module, our_modules

DOMAIN_MAY_IMPORT = {
    "pydantic": "events, state and values are frozen models",
    "eventsourcing.domain": "the protocol of an event",
    "eventsourcing.utils": "the registry of topics",
}

ONLY_IN: dict[str, dict[str, str]] = {
    "fastapi": {"api": "HTTP is spoken in one place"},
    "starlette": {"api": "what FastAPI stands on"},
    "joserfc": {"api.tokens": "one module knows how tokens are signed"},
    "uvicorn": {
        "varve.processes": "the web server is started in code",
        "varve.http_protocol": "its protocol, with a limit",
    },
    "uvloop": {"varve.processes": "the loop of the web server", "workers.broker": "the loop of the actors"},
    "dramatiq": {
        "workers": "the broker, its middleware and the actors",
        "varve.processes": "each process declares its actors on the broker that it is given",
        "varve.bootstrap": "the composition root makes the broker that wakes workers",
    },
    "psycopg": {
        "eventstore": "the log",
        "projections": "read models are written with their position and read as the reader role",
        "workers": "pending work is leased in rows",
        "varve": "pools, migrations and the embedded server",
    },
    "psycopg_pool": {
        "eventstore": "the log",
        "projections": "read models",
        "workers": "pending work",
        "varve": "opens the pools",
    },
    "alembic": {"varve.migrate": "migrations", "varve.migrations": "migrations"},
    "sqlalchemy": {"varve.migrate": "Alembic is handed a connection of it"},
    "redis": {
        "workers": "the broker's errors are translated where messages are sent",
        "varve.bootstrap": "the health check's client is made in the composition root",
        "varve.health": "the health check",
        "varve.shared_answers": "the second level of the cache stands behind a port of the queries",
        "varve.embedded": "the embedded server is asked whether it is up",
    },
    "eventsourcing": {
        "domain": "only `.domain` and `.utils`, see DOMAIN_MAY_IMPORT",
        "eventstore": "mapper and recorder stand behind the library's interfaces",
    },
    "openai": {"workers.embedding.openai": "one module speaks with embedding servers"},
    "obstore": {
        "workers.blobs": "the blob store's adapter",
        "workers.blob_faults": "its errors are given their meaning",
        "varve.bootstrap": "the composition root chooses the store behind it",
    },
    "ctranslate2": {"workers.embedding": "the embedder's adapter"},
    "tokenizers": {"workers.embedding": "the embedder's adapter"},
    "safetensors": {"workers.embedding": "the embedder's adapter"},
    "pypdfium2": {"workers.documents": "a parser, run in a process of its own"},
    "docx": {"workers.documents": "a parser, run in a process of its own"},
    "selectolax": {"workers.documents": "a parser, run in a process of its own"},
    "markdown_it": {"workers.documents": "a parser, run in a process of its own"},
    "typer": {"varve": "the command line"},
    "pydantic_settings": {"varve.settings": "settings are read once, at the edge"},
    "opentelemetry.sdk": {"varve.telemetry": "others use the API and know no exporter"},
    "opentelemetry.exporter": {"varve.telemetry": "others use the API and know no exporter"},
}


def violations(module: Module) -> list[str]:
    """Return a sentence for each import of `module` that breaks a rule."""
    names = sorted(imports(module))
    return [
        *(f"{module.name} imports {name}: the domain is pure" for name in names if _taints_domain(module, name)),
        *(
            f"{module.name} imports {name}: {package} belongs to {', '.join(ONLY_IN[package])}"
            for name in names
            for package in ONLY_IN
            if _is_within(name, package) and not any(module.is_within(home) for home in ONLY_IN[package])
        ),
    ]


def _taints_domain(module: Module, name: str) -> bool:
    top = name.split(".", maxsplit=1)[0]
    return (
        module.package == "domain"
        and top not in sys.stdlib_module_names
        and top not in PACKAGES
        and not any(_is_within(name, allowed) for allowed in DOMAIN_MAY_IMPORT)
    )


def _is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def test_every_import_of_a_package_of_others_is_where_it_belongs():
    assert [sentence for module in our_modules() for sentence in violations(module)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("domain.knowledge.entry", "import psycopg"),
        ("domain.knowledge.entry", "import structlog"),
        ("domain.knowledge.entry", "from eventsourcing.persistence import Mapper"),
        ("domain.knowledge.entry", "from eventsourcing import persistence"),
        ("domain.knowledge.entry", "def evolve():\n    import orjson"),
    ],
)
def test_a_domain_that_imports_a_driver_is_found(name, source):
    assert violations(module(name, source))


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_outside_its_home_is_found(package):
    assert violations(module("queries.knowledge.entry_list", f"import {package}"))


def test_a_package_of_a_similar_name_is_not_mistaken_for_one_with_a_home():
    assert violations(module("queries.knowledge.entry_list", "import redistribution")) == []


@pytest.mark.parametrize(
    "source", ["from pydantic import BaseModel", "from eventsourcing.utils import register_topic", "import hashlib"]
)
def test_the_domain_may_import_what_it_is_made_of(source):
    assert violations(module("domain.knowledge.entry", source)) == []

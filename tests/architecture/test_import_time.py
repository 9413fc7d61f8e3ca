"""Importing a module does nothing: no connection, file, environment, clock, randomness, process or output."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import Module, module, our_modules

# The last part of a called name is enough: `psycopg.connect`, `connection.connect` and `connect` all open something.
_DOES_SOMETHING = frozenset(
    {
        *("connect", "create_connection", "from_url", "create_engine", "AsyncConnectionPool", "ConnectionPool"),
        *("RedisBroker", "create_broker", "set_broker", "StubBroker"),
        *("open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "exists", "is_file", "is_dir"),
        *("getenv", "Settings", "cwd", "home", "gethostname", "getpid"),
        *("now", "utcnow", "today", "time", "monotonic", "perf_counter"),
        *("uuid1", "uuid4", "uuid7", "token_bytes", "token_hex", "token_urlsafe", "urandom", "randbytes", "Random"),
        *("run", "Popen", "Thread", "start", "create_task", "get_event_loop", "new_event_loop"),
        *("set_tracer_provider", "configure", "basicConfig", "signal", "print", "exec", "eval", "import_module"),
    }
)
_ENVIRONMENT = frozenset({"environ", "environb"})

SCRIPTS = {
    "varve.__main__": "the launcher: it is run, and refuses an old Python before anything else",
    "varve.migrations.env": "Alembic runs it by its path",
}


def effects(module: Module) -> list[str]:
    """Return a sentence for each thing that importing `module` would do."""
    if module.name in SCRIPTS:
        return []
    return [
        f"{module.name}:{node.lineno} {what} at import: do it in a function that the composition root calls"
        for node in _run_at_import(module.tree.body)
        if (what := _effect(node)) is not None
    ]


def _run_at_import(body: list[ast.stmt]) -> Iterator[ast.expr]:
    """Yield the expressions that an import evaluates: defaults, decorators and class bodies, no function bodies."""
    pending: list[ast.AST] = [statement for statement in body if not _is_main_guard(statement)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.expr):
            yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                pending += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
            case ast.Lambda():
                pending += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            case _:
                pending += ast.iter_child_nodes(node)


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _effect(node: ast.expr) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _DOES_SOMETHING:
            return f"calls {ast.unparse(node.func)}"
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in _ENVIRONMENT:
            return "reads the environment"
        case _:
            return None


def test_importing_our_modules_does_nothing():
    assert [sentence for module in our_modules() for sentence in effects(module)] == []


@pytest.mark.parametrize(
    "source",
    [
        "connection = psycopg.connect('')",
        "pool = AsyncConnectionPool('')",
        "broker = RedisBroker(url='')",
        "text = open('a')",
        "SQL = (files('queries') / 'a.sql').read_text()",
        "HOME = os.environ['HOME']",
        "HOME = os.getenv('HOME')",
        "from os import environ\nHOME = environ.get('HOME')",
        "settings = Settings()",
        "STARTED = datetime.now(UTC)",
        "ID = uuid4()",
        "class A:\n    started = time.time()",
        "def f(now=datetime.now(UTC)): ...",
        "def f(*, started=time.monotonic()): ...",
        "if True:\n    print('hello')",
        "@decorated(os.environ)\ndef f(): ...",
        "threading.Thread(target=work).start()",
    ],
)
def test_a_module_that_does_something_at_import_is_found(source):
    assert effects(module("workers.example", source))


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    return open('a')",
        "log = structlog.get_logger()",
        "PATTERN = re.compile('a')",
        "if __name__ == '__main__':\n    run()",
        "later = lambda: time.time()",
    ],
)
def test_what_waits_for_a_call_is_no_effect(source):
    assert effects(module("workers.example", source)) == []

"""Builds the HTTP application."""

import re
from importlib.metadata import version
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from api import health
from api.activity import routes as activity
from api.answers import KnownQuestions, QuickAnswers
from api.authentication import Authentication
from api.body_limit import BodyLimit
from api.head_limit import HeadLimit
from api.knowledge import documents, entries
from api.middleware import RequestContext
from api.operations import as_of
from api.operations import routes as operations
from api.problems import add_problem_handlers
from api.routing import LARGE_AT_ONCE, LARGE_BYTES, require_commands
from api.search import routes as search
from api.services import Services
from api.slots import Slots
from queries.knowledge.document_status import GetDocument
from queries.knowledge.entry_list import GetEntry

PREFIX = "/api/v1"
_ENTRIES = re.compile(f"{PREFIX}/entries(:batch|/[^/]+)?")
_UPLOADS = re.compile(f"{PREFIX}/documents")
_FORM_BYTES = 100_000  # what a multipart form may hold besides the file


def create_api(services: Services) -> FastAPI:
    """Return the application that serves `services`."""
    app = FastAPI(
        title="Varve",
        version=version("varve"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # RequestContext has the request's span and its log line. Without a collector it would be looked for each time.
        telemetry={"tracing": False, "logs": False, "metrics": services.is_metered},
    )
    known_questions = KnownQuestions(
        {
            f"{PREFIX}/entries": lambda entry_id: GetEntry(entry_id=entry_id),
            f"{PREFIX}/documents": lambda document_id: GetDocument(document_id=document_id),
        }
    )
    app.state.services = services
    app.state.known_questions = known_questions
    app.state.large_bodies = Slots(LARGE_AT_ONCE)
    # What is added later is further out.
    app.add_middleware(
        BodyLimit,
        usual=min(LARGE_BYTES, services.max_body_bytes),
        others=[(_ENTRIES, services.max_body_bytes), (_UPLOADS, services.max_upload_bytes + _FORM_BYTES)],
    )
    app.add_middleware(QuickAnswers, known=known_questions, queries=services.queries)
    app.add_middleware(Authentication, tokens=services.tokens, prefix=PREFIX)  # before anybody's body is received
    app.add_middleware(HeadLimit)  # before a token is looked at
    app.add_middleware(RequestContext)  # outermost: every answer has its log line
    add_problem_handlers(app)
    routers = (entries.router, documents.router, search.router, activity.router, operations.router, as_of.router)
    for router in routers:
        require_commands(router.routes)
        app.include_router(router, prefix=PREFIX)
    app.include_router(health.router)
    _serve_docs(app)
    return app


def _serve_docs(app: FastAPI) -> None:
    """Serve the documentation page with assets of our own: nothing is fetched from elsewhere."""
    app.mount("/docs/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Varve API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
        )

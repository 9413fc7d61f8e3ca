"""What is kept of the answers to a tenant's questions, for those who administer it."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from domain.shared.access import Permission
from queries.message import Answer, Asking, Query, QueryHandler
from queries.ports import SharedAnswers


class KeptAnswerView(BaseModel):
    """A kept answer; `query_hash` stands for the query, its parameters and who asked it with which roles."""

    model_config = ConfigDict(frozen=True)

    kind: str
    query_hash: str
    results: int
    hits: int
    expires_in_seconds: float


class ListKeptAnswers(Query):
    """The answers of searches and lists that are kept, those that stay longest first."""

    PERMISSION: ClassVar[Permission] = Permission.ACTIVITY_READ
    MODELS: ClassVar[tuple[str, ...]] = ()

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def kept_answers_handler(shared: SharedAnswers) -> QueryHandler[ListKeptAnswers, Answer[list[KeptAnswerView]]]:
    """Return the handler that looks at what `shared` keeps."""

    async def list_kept_answers(query: ListKeptAnswers, asking: Asking) -> Answer[list[KeptAnswerView]]:
        reached = await asking.read_models.reached(())
        kept = await shared.list(asking.actor.tenant, query.limit)
        views = [KeptAnswerView.model_validate(each, from_attributes=True) for each in kept]
        return Answer(views, reached.head, reached.epoch)

    return list_kept_answers

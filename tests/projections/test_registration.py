"""A new read model is one class and one line in the registry: everything else is the engine's."""

from commands.operations.projections import RebuildProjection
from projections.activity.user_activity import UserActivityView
from projections.registry import READ_MODELS
from queries.ports import Question
from tests.architecture.source import imports, our_modules
from tests.builders import actors
from tests.fixtures.engine import running_engine
from tests.projections.counting import EventsByTopic
from tests.projections.engines import until_caught_up, until_live
from tests.projections.sending import create, create_many, send
from varve.bootstrap import open_platform

NAME = EventsByTopic.NAME
COUNTS = Question((NAME,), f"select topic, count from {{{NAME}.topics}}")


async def test_one_line_has_it_made_kept_current_read_by_tenant_and_rebuilt(settings, admin, monkeypatch):
    monkeypatch.setattr("projections.registry.READ_MODELS", (*READ_MODELS, EventsByTopic))
    async with open_platform(settings) as platform, running_engine(settings):
        await create_many(platform, 3)
        await create(platform, "Ash", actors.EVE)
        await until_caught_up(admin, [NAME])
        current = await platform.read_models.read(actors.ANN, COUNTS)
        await send(platform, RebuildProjection(projection=NAME), actors.OTTO_OPERATES)
        await until_live(admin, NAME, 2)
        rebuilt = await platform.read_models.read(actors.ANN, COUNTS)
    assert current.rows == rebuilt.rows == [{"topic": "knowledge.KnowledgeEntryCreated", "count": 3}]
    assert (current.generations, rebuilt.generations) == ({NAME: 1}, {NAME: 2})


def test_the_smallest_one_is_imported_by_the_registry_alone():
    own = UserActivityView.__module__
    importing = {module.name for module in our_modules() if any(each.startswith(own) for each in imports(module))}
    assert importing == {"projections.registry"}

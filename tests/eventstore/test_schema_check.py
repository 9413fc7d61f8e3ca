"""What is published of an event is kept: its schemas, its versions, and every example byte for byte."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from domain.shared.events import Event, InvalidUpcasting
from domain.shared.values import WhenMade
from eventstore.mapper import EventTypes
from eventstore.published import PublishedEvents
from eventstore.schema_check import Kind, Problem, broken_upcasting, check, publish
from varve.bootstrap import event_types

TOPIC = "tests.LayerMeasured"


class First(Event):
    TOPIC: ClassVar[str] = TOPIC

    depth: str
    tags: tuple[str, ...]


class Second(Event):
    TOPIC: ClassVar[str] = TOPIC
    class_version: ClassVar[int] = 2

    millimetres: int
    tags: tuple[str, ...]

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["millimetres"] = 10 * int(state.pop("depth").removesuffix(" cm"))


class Third(Event):
    TOPIC: ClassVar[str] = TOPIC
    class_version: ClassVar[int] = 3

    millimetres: int
    tags: tuple[str, ...]
    by: str | None

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        Second.upcast_v1_v2(state)

    @staticmethod
    def upcast_v2_v3(state: dict[str, Any]) -> None:
        state["by"] = None


DRAFTS = {
    First: '{"tags": ["层"], "depth": "12 cm"}',
    Second: '{"tags": [], "millimetres": 120}',
    Third: '{"tags": [], "millimetres": 120, "by": "ann"}',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / TOPIC).mkdir()
    return tmp_path


@pytest.fixture
def published(folder: Path) -> PublishedEvents:
    return PublishedEvents(folder)


def examples(folder: Path, class_version: int) -> Path:
    return folder / TOPIC / f"v{class_version}.examples.jsonl"


def schema(folder: Path, class_version: int) -> Path:
    return folder / TOPIC / f"v{class_version}.schema.json"


def publish_up_to(folder: Path, *classes: type[Event]) -> None:
    for event_class in classes:
        examples(folder, event_class.class_version).write_text(DRAFTS[event_class] + "\n", encoding="utf-8")
        _, problems = publish(EventTypes(event_class), PublishedEvents(folder))
        assert not problems


def found(problems: list[Problem]) -> list[tuple[Kind, int, str]]:
    return [(problem.kind, problem.class_version, problem.field) for problem in problems]


def test_what_has_been_published_is_kept(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First, Second, Third)
    assert check(EventTypes(Third), published) == []


def test_a_new_event_is_unpublished(published: PublishedEvents):
    problems = check(EventTypes(First), published)
    assert found(problems) == [(Kind.UNPUBLISHED, 1, "$")]
    assert "varve events schemas --write" in problems[0].advice


def test_a_new_version_is_unpublished(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First)
    assert found(check(EventTypes(Second), published)) == [(Kind.UNPUBLISHED, 2, "$")]


def test_a_changed_field_is_named_with_what_to_do(folder: Path, published: PublishedEvents):
    class Changed(Event):
        TOPIC: ClassVar[str] = TOPIC

        depth: str | None
        tags: tuple[int, ...]

    publish_up_to(folder, First)
    problems = [problem for problem in check(EventTypes(Changed), published) if problem.kind is Kind.CHANGED]
    assert {problem.field for problem in problems} == {"$.depth", "$.tags[*]"}
    assert str(problems[-1]) == (
        'tests.LayerMeasured version 1, $.tags[*]: type was "string" and is "integer". '
        "To do: take the change back, or raise class_version to 2 and write upcast_v1_v2."
    )


def test_an_optional_field_more_is_a_change_and_every_example_shows_it(folder: Path, published: PublishedEvents):
    class Optional(First):
        TOPIC: ClassVar[str] = TOPIC

        by: str | None = None

    publish_up_to(folder, First)
    assert found(check(EventTypes(Optional), published)) == [
        (Kind.CHANGED, 1, "$.by"),
        (Kind.INEXACT_EXAMPLE, 1, "$.by"),
    ]


def test_a_rule_that_no_schema_shows_is_found_by_an_example(folder: Path, published: PublishedEvents):
    class Cleaned(First):
        TOPIC: ClassVar[str] = TOPIC

        def model_post_init(self, context: object) -> None:
            object.__setattr__(self, "tags", tuple(tag.upper() for tag in self.tags))

    examples(folder, 1).write_bytes(b'{"depth":"1 cm","tags":["a"]}\n')
    publish(EventTypes(First), published)
    assert found(check(EventTypes(Cleaned), published)) == [(Kind.INEXACT_EXAMPLE, 1, "$.tags[0]")]


def test_a_check_that_the_logs_reader_leaves_out_is_found_by_an_example(folder: Path, published: PublishedEvents):
    class Ordered(First):
        TOPIC: ClassVar[str] = TOPIC

        tags: Annotated[tuple[str, ...], WhenMade(lambda tags: tuple(sorted(tags)))]

    examples(folder, 1).write_bytes(b'{"depth":"1 cm","tags":["b","a"]}\n')
    publish(EventTypes(First), published)
    assert found(check(EventTypes(Ordered), published)) == [(Kind.INEXACT_EXAMPLE, 1, "$.tags[0]")]


def test_bytes_that_are_not_canonical_are_found(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First)
    examples(folder, 1).write_bytes(b'{"depth": "1 cm","tags":[]}\n')
    assert found(check(EventTypes(First), published)) == [(Kind.INEXACT_EXAMPLE, 1, "$")]


def test_an_example_that_no_longer_fits_is_named_by_its_field(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First)
    examples(folder, 1).write_bytes(b'{"depth":"1 cm","tags":["a",1]}\n')
    assert found(check(EventTypes(First), published)) == [(Kind.UNREADABLE_EXAMPLE, 1, "$.tags[1]")]


def test_an_old_example_that_an_upcaster_fails_on_is_found(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First, Second)
    examples(folder, 1).write_bytes(b'{"depth":"a hand","tags":[]}\n')
    (problem,) = check(EventTypes(Second), published)
    assert found([problem]) == [(Kind.UNREADABLE_EXAMPLE, 1, "$")]
    assert "ValueError" in problem.what


def test_an_old_example_that_upcasting_leaves_incomplete_is_found(folder: Path, published: PublishedEvents):
    class Forgetful(Third):
        TOPIC: ClassVar[str] = TOPIC

        @staticmethod
        def upcast_v2_v3(state: dict[str, Any]) -> None: ...

    publish_up_to(folder, First, Second, Third)
    assert found(check(EventTypes(Forgetful), published)) == [
        (Kind.UNREADABLE_EXAMPLE, 1, "$.by"),
        (Kind.UNREADABLE_EXAMPLE, 2, "$.by"),
    ]


def test_a_version_without_examples_is_found(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First)
    examples(folder, 1).unlink()
    assert found(check(EventTypes(First), published)) == [(Kind.NO_EXAMPLE, 1, "$")]


def test_a_topic_that_no_class_has_any_more_is_found(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First)
    assert found(check(EventTypes(), published)) == [(Kind.GONE, 1, "$")]


def test_a_version_that_was_taken_back_is_found(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First, Second)
    assert found(check(EventTypes(First), published)) == [(Kind.GONE, 2, "$")]


def test_a_lost_file_of_an_older_version_is_found(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First, Second)
    schema(folder, 1).unlink()
    assert found(check(EventTypes(Second), published)) == [(Kind.MISSING, 1, "$")]


def test_a_step_that_is_missing_is_a_version_that_is_gone():
    class Stepless(Third):
        TOPIC: ClassVar[str] = TOPIC
        class_version: ClassVar[int] = 4

    with pytest.raises(InvalidUpcasting) as broken:
        EventTypes(Stepless)
    problem = broken_upcasting(broken.value)
    assert found([problem]) == [(Kind.GONE, 3, "$")]
    assert "upcast_v3_v4" in problem.advice


@pytest.mark.parametrize("content", [b"<<<<<<< HEAD", b"[]"])
def test_a_damaged_file_is_found(folder: Path, published: PublishedEvents, content: bytes):
    publish_up_to(folder, First)
    schema(folder, 1).write_bytes(content)
    assert found(check(EventTypes(First), published)) == [(Kind.DAMAGED, 1, "$")]


def test_publishing_stores_examples_as_the_log_would(folder: Path):
    publish_up_to(folder, First)
    assert examples(folder, 1).read_bytes() == '{"depth":"12 cm","tags":["层"]}\n'.encode()


def test_publishing_again_writes_nothing(folder: Path, published: PublishedEvents):
    publish_up_to(folder, First)
    assert publish(EventTypes(First), published) == ([], ())


def test_publishing_never_changes_a_published_version(folder: Path, published: PublishedEvents):
    class Changed(First):
        TOPIC: ClassVar[str] = TOPIC

        depth: str | None  # type: ignore[assignment]  # the change that is refused

    publish_up_to(folder, First)
    before = schema(folder, 1).read_bytes()
    written, problems = publish(EventTypes(Changed), published)
    assert (written, list(problems)) == ((), check(EventTypes(Changed), published))
    assert schema(folder, 1).read_bytes() == before


def test_one_problem_holds_up_all_that_is_to_be_published(folder: Path, published: PublishedEvents):
    class Other(Event):
        TOPIC: ClassVar[str] = "tests.Other"

    publish_up_to(folder, First)
    (folder / "tests.Other").mkdir()
    (folder / "tests.Other" / "v1.examples.jsonl").write_bytes(b"{}\n")
    examples(folder, 1).unlink()
    publish(EventTypes(First, Other), published)
    assert [version.topic for version in published.versions()] == [TOPIC]


def test_a_new_version_without_examples_is_not_published(folder: Path, published: PublishedEvents):
    written, (problem,) = publish(EventTypes(First), published)
    assert (written, problem.kind) == ((), Kind.NO_EXAMPLE)
    assert "depth, tags" in problem.advice


def test_a_draft_that_is_no_such_event_is_not_published(folder: Path, published: PublishedEvents):
    examples(folder, 1).write_bytes(b'{"depth":1,"tags":[]}\n')
    written, problems = publish(EventTypes(First), published)
    assert (written, found(list(problems))) == ((), [(Kind.UNREADABLE_EXAMPLE, 1, "$.depth")])


def test_texts_for_people_are_brought_up_to_date(folder: Path, published: PublishedEvents):
    class Described(First):
        """A layer was measured."""

        TOPIC: ClassVar[str] = TOPIC

    publish_up_to(folder, First)
    assert check(EventTypes(Described), published) == []
    written, problems = publish(EventTypes(Described), published)
    assert ([version.class_version for version in written], problems) == ([1], ())
    assert b"A layer was measured." in schema(folder, 1).read_bytes()


def test_the_events_of_this_code_keep_what_is_published():
    docs = Path(__file__).parents[2] / "docs" / "events"
    assert check(event_types(), PublishedEvents(docs)) == []

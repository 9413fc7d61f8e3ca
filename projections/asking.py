"""The SQL that asks questions of read models, alone or several together, and what its rows are made into."""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg.rows import RowMaker

from projections.definition import Generation

# One statement, one snapshot: a client that goes on with the answer's position finds there what the rows have shown.
# The outer side of the join is run first, and sets the tenant that the inner side's row-level security asks for; in
# another order the question would be refused.
_ASK = """
select r.reading, 1 as number, q.*
from {reading} r (reading)
left join lateral (select true as is_row, question.* from ({sql}) question) q on true
"""
# The same question with several keys. They depend on the reading, so that it is first, and are looked up one by one
# however many they seem to be. PostgreSQL is not shown how many, so that one plan is as good as one for each number.
# What has an offset is not taken apart: else the reading would be made once for each place that it is named at.
_ASK_TOGETHER = """
select case when asked.number = 1 then r.reading end, asked.number, q.*
from (select f.reading from {reading} f (reading) offset 0) r
cross join lateral (
    select each.* from unnest({arrays}) with ordinality as each ({names}, number) where r.reading is not null offset 0
) asked
left join lateral (select true as is_row, question.* from ({sql}) question offset 0) q on true
"""
_READING = "varve.start_reading(%(reading_tenant)s, %(reading_models)s::text[], %(reading_as_of)s)"
_READING_BY_KEY = "varve.reading_by_key(%(reading_tenant)s, %(reading_model)s)"
_KEPT_STATEMENTS = 500  # of some kilobytes
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")
_COLUMNS_BEFORE = 3
"""The columns of an answer that are not the question's: what it is of, to which it is, and whether there is a row."""
_ARRAYS: Mapping[type, str] = {str: "text", UUID: "uuid"}
"""The types of parameters in which questions that are asked together may differ."""

Answer = tuple[str, int, dict[str, Any] | None]
"""What is said of the reading, the number of the question, and a row, if it has one."""
_Generations = tuple[tuple[str, int], ...]


class Question(Protocol):
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def sql(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def settings(self) -> Mapping[str, str]: ...
    @property
    def is_by_key(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a tenant, and the generations that it is asked of, live ones or those as of a past position."""

    tenant: str
    question: Question
    generations: Mapping[str, int]
    as_of: UUID | None = None

    @property
    def is_by_key(self) -> bool:
        """Whether it is planned with what says of which reading its answer is."""
        return self.question.is_by_key and self.as_of is None

    @property
    def kind(self) -> Hashable | None:
        """What is the same in questions that can be asked together; None if it has to be asked alone."""
        question = self.question
        if not self.is_by_key or not question.parameters or question.settings:
            return None
        types = [type(value) for value in question.parameters.values()]
        if not _ARRAYS.keys() >= set(types):
            return None
        return self.tenant, question.sql, *self.generations.items(), *types


class Statement:
    """SQL as PostgreSQL takes it: psycopg reads one of more than 4 KB, such as the search's, anew each time."""

    def __init__(self, sql: str) -> None:
        """Take SQL with named parameters, whose rows begin with what an `Answer` begins with."""
        self._names = list(dict.fromkeys(name for name in _PARAMETER.findall(sql) if name))
        self.sql = _PARAMETER.sub(
            lambda found: f"${self._names.index(found[1]) + 1}" if found[1] else "%", sql
        ).encode()
        self._columns: Sequence[str] = ()

    def parameters(self, of: Mapping[str, Any]) -> list[Any]:
        """Return the parameters in their order."""
        return [of[name] for name in self._names]

    def answers(self, cursor: psycopg.AsyncCursor[Any]) -> RowMaker[Answer]:
        """Make answers of rows; the columns' names are looked up once."""
        if not self._columns and cursor.description is not None:
            self._columns = [column.name for column in cursor.description[_COLUMNS_BEFORE:]]
        return self._answer

    def _answer(self, values: Sequence[Any]) -> Answer:
        reading, number, is_row, *own = values
        return reading, number, dict(zip(self._columns, own, strict=True)) if is_row else None


def statement_of(asked: Asked) -> tuple[Statement, list[Any]]:
    """Return the statement that asks a question, and its parameters."""
    question = asked.question
    parameters: dict[str, Any] = {"reading_tenant": asked.tenant, **question.parameters}
    if asked.is_by_key:
        reading = _READING_BY_KEY
        (parameters["reading_model"],) = question.models
    else:
        reading = _READING
        parameters["reading_models"] = f"{{{','.join(question.models)}}}"  # an array's text: sent quicker than a list
        parameters["reading_as_of"] = asked.as_of
    statement = _alone(reading, question.sql, tuple(asked.generations.items()), asked.as_of)
    return statement, statement.parameters(parameters)


def statement_of_several(several: Sequence[Asked]) -> tuple[Statement, list[Any]]:
    """Return the statement that asks questions of one kind together, numbered from 1, and its parameters."""
    first, *_ = several
    question = first.question
    types = tuple((name, _ARRAYS[type(value)]) for name, value in question.parameters.items())
    parameters: dict[str, Any] = {"reading_tenant": first.tenant, "reading_model": question.models[0]}
    parameters |= {name: [each.question.parameters[name] for each in several] for name, _ in types}
    statement = _together(question.sql, types, tuple(first.generations.items()))
    return statement, statement.parameters(parameters)


@lru_cache(_KEPT_STATEMENTS)
def _alone(reading: str, question: str, generations: _Generations, as_of: UUID | None) -> Statement:
    return Statement(_ASK.format(reading=reading, sql=_of_generations(question, generations, as_of)))


@lru_cache(_KEPT_STATEMENTS)
def _together(question: str, types: tuple[tuple[str, str], ...], generations: _Generations) -> Statement:
    own = _of_generations(question, generations, None)
    return Statement(
        _ASK_TOGETHER.format(
            reading=_READING_BY_KEY,
            arrays=", ".join(f"(select %({name})s::{sql_type}[])" for name, sql_type in types),
            names=", ".join(name for name, _ in types),
            sql=_PARAMETER.sub(lambda found: f"asked.{found[1]}" if found[1] else found[0], own),
        )
    )


def _of_generations(question: str, generations: _Generations, as_of: UUID | None) -> str:
    return question.format_map({model: _Tables(Generation(model, number, as_of)) for model, number in generations})


class _Tables:
    """Stands for a model in the SQL of a question: its attributes are the tables of a generation."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __getattr__(self, name: str) -> str:
        return self._generation.table(name)

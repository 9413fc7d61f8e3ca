"""The published versions of every event as files: their JSON Schemas and golden examples."""

import re
from dataclasses import dataclass
from pathlib import Path

import orjson

from eventstore.schemas import Schema

_SCHEMA_FILE = re.compile(r"v([1-9][0-9]*)\.schema\.json")


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """The files of one version of an event: a JSON Schema, and events as the log's bytes, one on a line."""

    topic: str
    class_version: int
    schema_file: Path
    examples_file: Path

    def is_published(self) -> bool:
        return self.schema_file.is_file()

    def schema(self) -> Schema:
        """Return the schema.

        Raises:
            ValueError: the file holds none.
        """
        schema = orjson.loads(self.schema_file.read_bytes())
        if not isinstance(schema, dict):
            raise ValueError("it holds no JSON object")  # noqa: TRY004 - the file is wrong, and no argument is
        return schema

    def examples(self) -> list[bytes]:
        """Return the golden examples; drafts, as long as this version is not published."""
        if not self.examples_file.is_file():
            return []
        return [line for line in self.examples_file.read_bytes().splitlines() if line.strip()]

    def write_examples(self, examples: list[bytes]) -> None:
        self.examples_file.write_bytes(b"".join(example + b"\n" for example in examples))

    def write_schema(self, schema: Schema) -> bool:
        """Write the schema, which publishes this version; return whether the file has changed."""
        data = orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        if self.is_published() and self.schema_file.read_bytes() == data:
            return False
        self.schema_file.write_bytes(data)
        return True


class PublishedEvents:
    """A folder with a folder for each topic: ``knowledge.DocumentDeleted/v1.schema.json``, ``v1.examples.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version(self, topic: str, class_version: int) -> PublishedVersion:
        """Return the files of a version, whether they are there or not."""
        folder = self._folder / topic
        names = (f"v{class_version}.schema.json", f"v{class_version}.examples.jsonl")
        return PublishedVersion(topic, class_version, folder / names[0], folder / names[1])

    def versions(self) -> list[PublishedVersion]:
        """Return every published version, by topic and number."""
        found = [
            (file.parent.name, int(match[1]))
            for file in self._folder.glob("*/*")
            if (match := _SCHEMA_FILE.fullmatch(file.name))
        ]
        return [self.version(topic, class_version) for topic, class_version in sorted(found)]

"""The SQL files of this folder, read once."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """Return the text of ``sql/<name>.sql``."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")

"""PostgreSQL's own load generator: the same rows, inserted one by one, without any order between them."""

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.appends import made_up
from benchmarks.appends.measured import Contender, Slice
from varve.settings import Settings

_FOLDER = Path(__file__).parent
_THREADS = 2
_RATE = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pgbench:
    """Writes to tables that are like ours but nobody's."""

    settings: Settings
    program: Path

    def make_tables(self) -> None:
        with psycopg.connect(self.settings.required_database_url(), autocommit=True) as connection:
            connection.execute((_FOLDER / "twins.sql").read_bytes())

    def contender(self, name: str, script: str, *, clients: int) -> Contender:
        """Return what runs the file `script` for whole seconds; one transaction counts as one."""

        async def run(seconds: float) -> Slice:
            return Slice(await self._rate(_FOLDER / script, clients, max(1, round(seconds))))

        return Contender(name, run)

    async def _rate(self, script: Path, clients: int, seconds: int) -> float:
        arguments = ["-n", "-M", "prepared", "-c", str(clients), "-j", str(_THREADS), "-T", str(seconds)]
        arguments += ["-f", str(script), *(f"-D{name}={value}" for name, value in _variables().items())]
        with tempfile.TemporaryFile() as said:
            process = await asyncio.create_subprocess_exec(
                self.program, *arguments, stdout=said, stderr=said, env=os.environ | self._environment()
            )
            await process.wait()
            said.seek(0)
            text = said.read().decode()
        rate = _RATE.search(text)
        if rate is None:
            raise RuntimeError(f"pgbench ended with {process.returncode}: {text}")
        return float(rate[1])

    def _environment(self) -> dict[str, str]:
        url = conninfo_to_dict(self.settings.required_database_url())
        names = {"PGHOST": "host", "PGDATABASE": "dbname", "PGUSER": "user", "PGPASSWORD": "password"}
        return {variable: str(url[name]) for variable, name in names.items()}


def _variables() -> Mapping[str, str]:
    """Return the parameters of the scripts: the same sizes as those of our own appends."""
    payload = made_up.payloads()[0].decode()
    command_id = str(made_up.new_id())
    return {
        "tenant": made_up.TENANT,
        "topic": made_up.TOPIC,
        "data": payload,
        "metadata": made_up.metadata_bytes().decode(),
        "command_type": made_up.COMMAND_TYPE,
        "command_data": orjson.dumps({"name": "A name", "text": payload[10:-2]}).decode(),
        "command_metadata": orjson.dumps({"correlation_id": command_id, "trace_id": None}).decode(),
        "actor": made_up.USER,
        "outcome": orjson.dumps({"aggregate_id": command_id, "version": 1, "result": {}}).decode(),
        "fingerprint": "0" * 32,
    }

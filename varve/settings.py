"""Every setting: from the environment (`VARVE_…`), then `varve.toml`, then the default here; read once, at the edge."""

import hashlib
import hmac
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

CONFIG_FILE = "varve.toml"
DatabaseRole = Literal["varve_writer", "varve_projector", "varve_reader", "varve_admin"]
LOGIN_ROLES: tuple[DatabaseRole, ...] = ("varve_writer", "varve_projector", "varve_reader", "varve_admin")


class Settings(BaseSettings):
    """What can be set. Without `database_url` and `redis_url`, `varve up` starts its own servers."""

    model_config = SettingsConfigDict(env_prefix="VARVE_", toml_file=CONFIG_FILE, extra="forbid", frozen=True)

    data_directory: Annotated[Path, Field(description="Where the embedded servers and the blobs keep their data.")] = (
        Path(".varve")
    )
    run_as: Annotated[
        str, Field(description="The system user of the embedded servers when Varve is started as root.")
    ] = "varve"
    database_url: Annotated[
        SecretStr | None, Field(description="PostgreSQL, as a user that may create roles and schemas.")
    ] = None
    pooled_database_url: Annotated[
        SecretStr | None,
        Field(
            description="The same database through PgBouncer in transaction mode, for reads, projections and workers; "
            "appends, notifications, migrations and tools go straight to `database_url`."
        ),
    ] = None
    read_database_url: Annotated[
        SecretStr | None,
        Field(
            description="A streaming replica of the database, for queries; the primary answers what the replica can't."
        ),
    ] = None
    pooled_prepared_statements: Annotated[
        bool, Field(description="Off for PgBouncer older than 1.22, and where its `max_prepared_statements` is 0.")
    ] = True
    redis_url: Annotated[SecretStr | None, Field(description="Redis or Valkey.")] = None
    secret_key: Annotated[
        SecretStr | None,
        Field(
            min_length=32, description="What tokens and the roles' passwords are derived from; 32 characters or more."
        ),
    ] = None
    blob_directory: Annotated[Path | None, Field(description="Uploaded files; by default in the data directory.")] = (
        None
    )
    model_directory: Annotated[
        Path | None, Field(description="Converted models; by default in the data directory.")
    ] = None
    api_host: str = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    projection_workers: Annotated[int, Field(ge=1, le=64, description="Processes that run projections.")] = 1
    document_workers: Annotated[int, Field(ge=1, le=64, description="Processes that parse and embed.")] = 1
    embedder: Annotated[
        Literal["minilm", "hashing", "openai"],
        Field(description="`openai` asks a server that speaks its protocol; the others run here."),
    ] = "minilm"
    embedding_url: Annotated[
        str | None, Field(description="Of the embedding server, up to the version: https://api.openai.com/v1.")
    ] = None
    embedding_model: Annotated[str | None, Field(description="What the embedding server calls its model.")] = None
    embedding_revision: Annotated[
        str, Field(description="Change it when the server's model changes under its name: all is embedded anew.")
    ] = "1"
    embedding_api_key: Annotated[SecretStr | None, Field(description="The embedding server's, if it wants one.")] = None
    embedding_dimension: Annotated[
        int | None, Field(ge=1, le=2000, description="Of the embedding server's vectors.")
    ] = None
    embedding_max_tokens: Annotated[
        int, Field(ge=32, le=8192, description="The longest text that the embedding server's model reads.")
    ] = 512
    idempotency_hours: Annotated[int, Field(ge=1, le=24 * 365)] = 24
    cache_age_ms: Annotated[
        int,
        Field(ge=0, le=10_000, description="How much older than the read model a kept answer may be; 0 keeps none."),
    ] = 250
    cache_megabytes: Annotated[int, Field(ge=1, description="Of kept answers in each API process.")] = 64
    cache_seconds: Annotated[
        int, Field(ge=1, description="How long Redis keeps the answers of lists and searches.")
    ] = 1800
    wait_seconds: Annotated[float, Field(gt=0, le=60, description="The longest wait for X-Min-Position.")] = 5.0
    max_upload_bytes: Annotated[int, Field(ge=1)] = 50_000_000
    max_body_bytes: Annotated[int, Field(ge=1)] = 10_000_000
    search_record_rate: Annotated[
        float,
        Field(ge=0, le=1, description="The part of searches of which a record is kept: never the text."),
    ] = 0.1
    search_record_days: Annotated[int, Field(ge=1, le=3650, description="How long records of searches are kept.")] = 30
    alarm_seconds: Annotated[
        float,
        Field(gt=0, le=86_400, description="After so long it is an alarm that a lane stands still, or is nobody's."),
    ] = 30.0
    hang_seconds: Annotated[
        float,
        Field(gt=0, le=3600, description="A process whose event loop takes no turn for so long ends, with its stack."),
    ] = 10.0
    projection_hang_seconds: Annotated[
        float, Field(gt=0, le=3600, description="The same for projection workers; less than a lane's lease of 3 s.")
    ] = 2.5
    worker_memory_megabytes: Annotated[
        int, Field(ge=512, description="The most address space of a worker, without its children.")
    ] = 4096
    isolated_memory_megabytes: Annotated[
        int, Field(ge=512, description="The most address space of a process that tries an event that ended a worker.")
    ] = 2048
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: Annotated[str | None, Field(description="An OpenTelemetry collector, OTLP over HTTP.")] = None
    metrics_seconds: Annotated[
        float, Field(ge=1, le=3600, description="How often metrics are sent to the collector.")
    ] = 15.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @model_validator(mode="after")
    def _require_a_way_past_the_pooler(self) -> Self:
        if self.pooled_database_url is not None and self.database_url is None:
            raise ValueError("pooled_database_url needs database_url too: appends go straight to it")
        return self

    @model_validator(mode="after")
    def _require_an_embedding_server(self) -> Self:
        if self.embedder == "openai":
            missing = [
                name
                for name in ("embedding_url", "embedding_model", "embedding_dimension")
                if getattr(self, name) is None
            ]
            if missing:
                raise ValueError(f"embedder 'openai' needs {', '.join(missing)}")
        return self

    def role_url(self, role: DatabaseRole) -> str:
        """Return the URL of the database itself for one of our roles, whose password is derived from the secret key."""
        return self._as_role(self.required_database_url(), role)

    def read_role_url(self, role: DatabaseRole) -> str:
        """Return the URL of the replica for one of our roles.

        Raises:
            MissingSettingError: there is none.
        """
        if self.read_database_url is None:
            raise MissingSettingError("read_database_url")
        return self._as_role(self.read_database_url.get_secret_value(), role)

    def pooled_role_url(self, role: DatabaseRole) -> str | None:
        """Return the URL of the pooler for one of our roles, None where there is none."""
        if self.pooled_database_url is None:
            return None
        return self._as_role(self.pooled_database_url.get_secret_value(), role)

    def without_pooler(self) -> "Settings":
        """Return these settings for tools that need PostgreSQL and nothing else."""
        return self.model_copy(update={"pooled_database_url": None})

    def role_password(self, role: DatabaseRole) -> str:
        return self.derived_key(f"database role {role}").hex()

    def derived_key(self, purpose: str) -> bytes:
        """Return 32 bytes for `purpose` that tell nothing of the secret key or of another purpose's."""
        if self.secret_key is None:
            raise MissingSettingError("secret_key")
        return hmac.digest(self.secret_key.get_secret_value().encode(), purpose.encode(), hashlib.sha256)

    def required_database_url(self) -> str:
        if self.database_url is None:
            raise MissingSettingError("database_url")
        return self.database_url.get_secret_value()

    def required_redis_url(self) -> str:
        if self.redis_url is None:
            raise MissingSettingError("redis_url")
        return self.redis_url.get_secret_value()

    def _as_role(self, database_url: str, role: DatabaseRole) -> str:
        url = urlsplit(database_url)
        _, _, host = url.netloc.rpartition("@")
        netloc = f"{role}:{quote(self.role_password(role), safe='')}@{host}"
        return urlunsplit(url._replace(netloc=netloc))

    @property
    def blobs(self) -> Path:
        return self.blob_directory or self.data_directory / "blobs"

    @property
    def models(self) -> Path:
        return self.model_directory or self.data_directory / "models"


class MissingSettingError(Exception):
    """A setting is needed that neither the environment nor the file has."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"VARVE_{name.upper()} is not set and no `varve up` is running here: start one, or set it for other servers"
        )

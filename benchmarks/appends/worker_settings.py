"""What a worker's process is told of the database, on its standard input: it holds a secret."""

from pydantic import BaseModel, SecretStr

from varve.settings import Settings


class WorkerSettings(BaseModel):
    database_url: str
    secret_key: str

    @classmethod
    def of(cls, settings: Settings) -> "WorkerSettings":
        assert settings.secret_key is not None
        return cls(database_url=settings.required_database_url(), secret_key=settings.secret_key.get_secret_value())

    def settings(self) -> Settings:
        return Settings(database_url=SecretStr(self.database_url), secret_key=SecretStr(self.secret_key))

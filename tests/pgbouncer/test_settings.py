"""Which way each part goes, by the settings. These need no PgBouncer."""

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr, ValidationError

from varve.pools import connecting
from varve.settings import LOGIN_ROLES, Settings
from varve.up import _environment

DIRECT = "postgresql://someone:secret@database:5432/varve"
POOLED = "postgresql://pooler:6432/varve?connect_timeout=3"


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(
        data_directory=tmp_path,
        database_url=SecretStr(DIRECT),
        pooled_database_url=SecretStr(POOLED),
        redis_url=SecretStr("redis://localhost"),
        secret_key=SecretStr("a secret key that only this test knows, long enough"),
    )


def test_pools_go_to_the_pooler_as_their_role_and_ask_it_for_nothing(settings):
    for role in LOGIN_ROLES:
        url, arguments = connecting(settings, role)
        parts = conninfo_to_dict(url)
        assert (parts["host"], parts["port"], parts["dbname"]) == ("pooler", "6432", "varve")
        assert (parts["user"], parts["password"]) == (role, settings.role_password(role))
        assert parts["connect_timeout"] == "3"
        assert arguments == {}


def test_what_a_pooler_cannot_share_goes_to_the_database_itself(settings):
    parts = conninfo_to_dict(settings.role_url("varve_writer"))
    assert (parts["host"], parts["user"]) == ("database", "varve_writer")
    assert settings.required_database_url() == DIRECT


def test_without_a_pooler_sessions_ask_for_their_limits_themselves(settings):
    url, arguments = connecting(settings.without_pooler(), "varve_projector")
    assert url == settings.role_url("varve_projector")
    assert "-c statement_timeout=300s" in arguments["options"]
    assert "-c lock_timeout=5s" in arguments["options"]


def test_prepared_statements_are_left_out_on_request_and_on_the_pooled_way_alone(settings):
    unprepared = settings.model_copy(update={"pooled_prepared_statements": False})
    assert connecting(unprepared, "varve_reader")[1] == {"prepare_threshold": None}
    assert "prepare_threshold" not in connecting(unprepared.without_pooler(), "varve_reader")[1]


def test_a_pooler_alone_is_refused():
    with pytest.raises(ValidationError, match="needs database_url"):
        Settings(pooled_database_url=SecretStr(POOLED))


def test_the_processes_of_the_launcher_are_told_of_the_pooler(settings):
    assert _environment(settings)["VARVE_POOLED_DATABASE_URL"] == POOLED
    assert _environment(settings)["VARVE_DATABASE_URL"] == DIRECT

"""What `varve test` and CI run."""

import os

import pytest

from tests.architecture.source import PROJECT
from varve import testing
from varve.testing import STAGES, NotACheckoutError, Stage, run_stages, run_tests


def stage(title: str, program: str) -> Stage:
    return Stage(title, ("-c", program))


def test_ci_runs_the_command_that_the_readme_gives():
    script = PROJECT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec python3 varve test"


def test_the_fastest_check_comes_first_and_pytest_last():
    titles = [stage.title.split(":")[0] for stage in STAGES]
    assert titles == ["Lint", "Format", "Types", "Contracts", "Events", "Tests"]


def test_every_stage_runs_in_order_under_its_title(capfd, tmp_path):
    assert run_stages((stage("One", "print(1)"), stage("Two", "print(2)")), tmp_path) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0:2] == ["== 1 of 2: One", "1"]
    assert lines[2].startswith("One passed in ")
    assert lines[3:] == ["", "== 2 of 2: Two", "2"]


def test_a_stage_that_fails_ends_the_run_with_its_exit_code(capfd, tmp_path):
    assert run_stages((stage("One", "raise SystemExit(7)"), stage("Two", "print('never')")), tmp_path) == 7
    assert "never" not in capfd.readouterr().out


def test_a_stage_that_is_killed_gives_the_exit_code_of_a_shell(tmp_path):
    assert run_stages((stage("One", "import os; os.kill(os.getpid(), 9)"),), tmp_path) == 137


def test_a_stage_runs_in_the_project_without_it_on_the_module_path(capfd, tmp_path):
    (tmp_path / "domain.py").write_text("print('the working folder was imported')")
    program = "import os, domain; print(os.getcwd())"
    assert run_stages((stage("One", program),), tmp_path) == 0
    assert capfd.readouterr().out.splitlines()[1:] == [str(tmp_path)]


def test_no_stage_sees_the_settings_of_somebodys_servers(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("VARVE_DATABASE_URL", "postgresql://production/varve")
    run_stages(
        (stage("One", "import os; print([name for name in os.environ if name.startswith('VARVE_')])"),), tmp_path
    )
    assert capfd.readouterr().out.splitlines()[1:] == ["[]"]


def test_arguments_go_to_pytest_alone(capfd):
    assert run_tests(["--version"]) == 0
    output = capfd.readouterr().out
    assert output.splitlines()[0] == "== 1 of 1: Tests: pytest"
    assert f"pytest {pytest.__version__}" in output


def test_an_installed_varve_says_that_it_has_no_tests(monkeypatch, tmp_path):
    monkeypatch.setattr(testing, "__file__", str(tmp_path / "varve" / "testing.py"))
    with pytest.raises(NotACheckoutError, match="Clone the repository and run there: python3 varve test"):
        run_tests([])

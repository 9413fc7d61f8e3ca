"""The lock file pins and hashes everything, names no host, and leaves PyTorch out."""

import re

import pytest

from tests.architecture.source import PROJECT

LEFT_OUT = {"torch", "sentence-transformers"}
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==[^\s;\\]+(?P<rest>.*)$")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_HOST = re.compile(r"https?://|file:|git\+|\b[\w-]+\.(?:org|com|net|io|dev)\b")


def violations(lock: str) -> list[str]:
    """Return a sentence for each requirement or option of `lock` that must not be there."""
    joined = lock.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    hosts = [f"names a host: {line}" for line in lock.splitlines() if _HOST.search(line)]
    return hosts + [sentence for line in lines if (sentence := _violation(line)) is not None]


def _violation(line: str) -> str | None:
    requirement = _REQUIREMENT.match(line)
    if requirement is None:
        return f"is no pinned requirement: {line}"
    name = re.sub(r"[-_.]+", "-", requirement["name"]).lower()
    if name in LEFT_OUT:
        return f"must be left out: {name}"
    return None if _HASH.search(line) else f"has no hash: {name}"


def test_the_lock_pins_and_hashes_everything_and_names_no_host():
    assert violations((PROJECT / "requirements.lock").read_text(encoding="utf-8")) == []


_DIGEST = "0" * 64


@pytest.mark.parametrize(
    "lock",
    [
        "rich==15.0.0\n",
        "rich>=15 --hash=sha256:" + _DIGEST,
        "--index-url https://packages.example/simple\n",
        "--extra-index-url mirror\n",
        "rich @ https://files.example/rich.whl",
        f"torch==2.9.0 \\\n    --hash=sha256:{_DIGEST}\n",
        f"sentence_transformers==5.1.0 \\\n    --hash=sha256:{_DIGEST}\n",
        f"rich==15.0.0 \\\n    --hash=sha256:{_DIGEST}\n    # from registry.example.com\n",
    ],
)
def test_a_lock_that_breaks_a_rule_is_found(lock):
    assert violations(lock)


def test_a_requirement_with_a_marker_and_two_hashes_is_accepted():
    lock = f"uvloop==0.23.0 ; sys_platform != 'win32' \\\n    --hash=sha256:{_DIGEST} \\\n    --hash=sha256:{_DIGEST}\n"
    assert violations(lock) == []

"""What every problem document must be."""

from httpx import Response


def require_problem(response: Response, status: int, code: str) -> None:
    """Require an RFC 9457 problem document with this status and type."""
    assert (response.status_code, problem_code(response)) == (status, code), response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]


def problem_code(response: Response) -> str:
    """The last part of the problem's type."""
    return response.json().get("type", "no type").removeprefix("urn:varve:problem:")

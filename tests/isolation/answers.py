"""What an answer gives away about the id that was asked for."""

from httpx import Response

_OF_THE_REQUEST = {"x-correlation-id", "traceparent", "tracestate"}


def told_about(asked_id: str, answer: Response) -> tuple[int, list[tuple[str, str]], str]:
    """Status, headers and body of `answer`, without the id itself and without what every request has of its own."""
    headers = [
        (name, value.replace(asked_id, "(id)"))
        for name, value in answer.headers.multi_items()
        if name not in _OF_THE_REQUEST
    ]
    return answer.status_code, sorted(headers), answer.text.replace(asked_id, "(id)")

"""How often a text may be said again: titles, headings and neighbours, with each passage."""

_FREE_BYTES = 16_384


class Allowance:
    """Lets something be repeated for as long as it takes no more bytes than the text itself, or `times` as many.

    16 KB are free. Ordinary documents never come near it; one of a long heading and many letters would be multiplied.
    """

    def __init__(self, times: int = 1) -> None:
        self._times = times
        self._left = _FREE_BYTES

    def earn(self, text: str) -> None:
        """Add what the passage `text` allows."""
        self._left += _bytes(text) * self._times

    def spend(self, *repeated: str) -> bool:
        """Take what `repeated` costs; return whether there was enough left."""
        cost = sum(map(_bytes, repeated))
        if cost > self._left:
            return False
        self._left -= cost
        return True


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

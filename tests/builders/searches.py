"""What a search is given when nobody wants to know of it afterwards."""

from queries.search.records import CompletedSearch


class Unnoted:
    """Takes no note of searches."""

    def note(self, search: CompletedSearch) -> None:
        """Do nothing."""

"""A thousand interleaved requests of two tenants, as without PgBouncer, on the two sessions that all readers share."""

from tests.isolation.test_interleaved_requests import test_no_answer_ever_holds_another_tenants_row

__all__ = ["test_no_answer_ever_holds_another_tenants_row"]

"""Let a rebuild have another purpose than being swapped in, keep what was compared, and mark parks that were told."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file of the same name: the plain SQL is what a reviewer reads."""
    op.get_bind().exec_driver_sql(
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"), execution_options={"no_parameters": True}
    )

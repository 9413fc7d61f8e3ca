"""Note which texts an embedder refuses."""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file of the same name: the plain SQL is what a reviewer reads."""
    op.get_bind().exec_driver_sql(
        Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"), execution_options={"no_parameters": True}
    )

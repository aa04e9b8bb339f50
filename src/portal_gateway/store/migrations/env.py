"""What Alembic runs to take the steps, on the connection that it is given."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes.get("metadata"),
    # SQLite cannot change a table in place.
    render_as_batch=True,
)
context.run_migrations()

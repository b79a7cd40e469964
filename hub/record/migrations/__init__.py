"""Alembic scripts, one directory a file; numbered, in order, never changed once released."""

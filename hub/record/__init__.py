"""The record: one module a noun, with its table, its queries and its changes.

Functions take the session first, flush, and leave the commit to whoever opened the transaction. What a person's record
says stands in one `sealed` blob a row (docs/reference/columns.md); look-ups go through keyed indexes.
"""

"""Decisions, pure: values and the present instant in, values out. Nothing here reads a clock, a file or a row."""

"""Calls, told as they go: from outside, to the outside, among colleagues, and what becomes of each."""

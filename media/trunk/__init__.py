"""Trunks: the carriers' servers, what calls over them may cost, and what their signatures are worth."""

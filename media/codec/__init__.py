"""Codecs beyond G.711: heard and made only where two parties share none, or where one is recorded."""

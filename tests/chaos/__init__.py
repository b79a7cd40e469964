"""Long runs of failure: `make chaos`."""

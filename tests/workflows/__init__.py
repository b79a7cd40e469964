"""Flows over fakes with the activities' names, and activities over a real instance with a real vault."""

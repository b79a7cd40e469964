"""Translate between one outside system and Chartline's facts, both ways."""

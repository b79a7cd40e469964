"""Whole stories: a real instance, every process of it, driven from outside."""

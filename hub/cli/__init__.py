"""The `chartline` command, one module for each group of verbs; `hub.cli.app` puts them together."""

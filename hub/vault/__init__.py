"""The vault: the one process that holds key-encryption keys and writes the audit log."""

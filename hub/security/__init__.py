"""Who may see what: sealing, blind indexes, audit intents, roles and the way out of the practice."""

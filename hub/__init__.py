"""The practice's nouns, the record of them, who may touch them, and the doors for people."""

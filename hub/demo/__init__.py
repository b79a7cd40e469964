"""A morning at the practice: the whole product driven by real programs over real protocols, and what came of it."""

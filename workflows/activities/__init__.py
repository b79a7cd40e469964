"""What the flows have done for them, one module a noun: here are rows, the vault, and the outside world."""

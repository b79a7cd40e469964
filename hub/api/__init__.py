"""JSON under /v1, one router a noun; OpenAPI is the contract."""

"""Web search: one module per provider, and the chain that asks them in order."""

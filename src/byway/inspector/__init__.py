"""The inspector: what the last requests took, how they were tried, and what was recorded of them."""

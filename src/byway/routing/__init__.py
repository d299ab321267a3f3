"""From a model name to ordered targets, and the cool-down of failing backends."""

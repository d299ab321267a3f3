"""Search providers: one pure module each, with its facts, its request and its response format."""

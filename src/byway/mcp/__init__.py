"""MCP server for web search and web fetch: its messages, its tools, and the calls in progress."""

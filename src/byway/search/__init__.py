"""Web search: runs searches through the configured providers, and the blocks of the official web search tool."""

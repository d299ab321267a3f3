"""The OpenAI chat-completions protocol as a backend. No I/O."""

"""The Responses protocol of OpenAI and of servers that follow it."""

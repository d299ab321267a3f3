"""Guardrails: rules of the operator on what clients send and what models answer. Pure."""

"""Azure OpenAI and Azure AI Foundry, in both forms."""

from __future__ import annotations

from typing import Final

import msgspec

from byway.backends.vendors import openai
from byway.backends.vendors.vendor import MessagesEndpoint

VENDOR: Final = msgspec.structs.replace(
    openai.VENDOR,
    name="azure",
    title="Azure OpenAI",
    signup="https://ai.azure.com",
    url=None,
    spellings=("azureopenai", "azureai", "foundry"),
    hosts=(".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
    prices="azure",
    prefix="/openai/v1",
    complete_urls=r"/openai/deployments/[^/?]+$",
    messages=MessagesEndpoint("/anthropic/v1", strict_tools=False),
    auth="api-key",
    needs_models=True,
    files=False,
    responses_extras=False,
)
"""
The name of a model is the name of its deployment. `https://R.openai.azure.com` has the API of OpenAI below `/openai/v1`; an
address such as `https://R.openai.azure.com/openai/deployments/NAME?api-version=2024-10-21` is the older form.

https://learn.microsoft.com/azure/ai-foundry/openai (second-hand, seen 2026-11-29): the header `api-key`; deployments are
not in the list of models; `file` parts are refused (https://github.com/pydantic/pydantic-ai, seen 2026-11-29). Claude is
served below `/anthropic` of `https://R.services.ai.azure.com`, which refuses `strict`.
"""

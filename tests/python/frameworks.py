"""Runs one framework against a gateway, in the environment of tests/python/sdks.txt: `frameworks.py NAME URL`.

Each one has a tool that adds two numbers, runs the loop of its own, and prints the last answer.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

MODEL = "default"
TASK = "Add 19 and 23."


def agents(url: str, api: str) -> str:
    from agents import (
        Agent,
        OpenAIChatCompletionsModel,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)

    @function_tool
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return f"sum {a + b}"

    async def run() -> str:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="dummy") as client:
            kind = OpenAIResponsesModel if api == "responses" else OpenAIChatCompletionsModel
            agent = Agent(name="Adder", instructions="Use the tool.", tools=[add], model=kind(MODEL, client))
            streamed = Runner.run_streamed(agent, TASK)
            async for _ in streamed.stream_events():
                pass
            whole = await Runner.run(agent, TASK)
            assert streamed.final_output == whole.final_output, (streamed.final_output, whole.final_output)
            return str(whole.final_output)

    return asyncio.run(run())


def langchain(url: str, api: str) -> str:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool

    @tool
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return f"sum {a + b}"

    if api == "messages":
        from langchain_anthropic import ChatAnthropic

        model: Any = ChatAnthropic(model=MODEL, base_url=f"{url}/anthropic", api_key="dummy", max_tokens=500)
    else:
        from langchain_openai import ChatOpenAI

        options = {"use_responses_api": True, "output_version": "responses/v1"} if api == "responses" else {}
        model = ChatOpenAI(model=MODEL, base_url=f"{url}/v1", api_key="dummy", **options)
    bound = model.bind_tools([add])
    history: list[Any] = [HumanMessage(TASK)]
    for _ in range(4):
        answer = None
        for chunk in bound.stream(history):
            answer = chunk if answer is None else answer + chunk
        assert answer is not None
        history.append(answer)
        if not answer.tool_calls:
            break
        history += [ToolMessage(add.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
    return str(answer.text if not callable(answer.text) else answer.text())


def pydantic(url: str, api: str) -> str:
    from pydantic_ai import Agent

    if api == "messages":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        model: Any = AnthropicModel(MODEL, provider=AnthropicProvider(api_key="dummy", base_url=f"{url}/anthropic"))
    else:
        from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider

        kind = OpenAIResponsesModel if api == "responses" else OpenAIChatModel
        model = kind(MODEL, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="dummy"))
    agent = Agent(model)

    @agent.tool_plain
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return f"sum {a + b}"

    return str(agent.run_sync(TASK).output)


def litellm(url: str, api: str) -> str:
    import json

    import litellm as library

    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": schema}}]
    prefix, base = ("anthropic", f"{url}/anthropic") if api == "messages" else ("openai", f"{url}/v1")
    history: list[Any] = [{"role": "user", "content": TASK}]
    for _ in range(4):
        answer = library.completion(
            model=f"{prefix}/{MODEL}", api_base=base, api_key="dummy", messages=history, tools=tools, max_tokens=500
        )
        message = answer.choices[0].message
        history.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            given = json.loads(call.function.arguments)
            text = f"sum {given['a'] + given['b']}"
            history.append({"role": "tool", "tool_call_id": call.id, "content": text})
    return str(message.content)


def embeddings(url: str, api: str) -> str:
    """The vectors of LangChain and of litellm are those of the backend."""
    import litellm as library
    from langchain_openai import OpenAIEmbeddings

    made = OpenAIEmbeddings(model=MODEL, base_url=f"{url}/v1", api_key="dummy", check_embedding_ctx_length=False)
    first = made.embed_documents(["one", "two"])
    second = library.embedding(model=f"openai/{MODEL}", api_base=f"{url}/v1", api_key="dummy", input=["one", "two"])
    return f"{first} {[item['embedding'] for item in second.data]}"


def completion(url: str, api: str) -> str:
    import litellm as library

    answer = library.text_completion(
        model=f"text-completion-openai/{MODEL}", api_base=f"{url}/v1", api_key="dummy", prompt=TASK, max_tokens=20
    )
    return str(answer.choices[0].text)


if __name__ == "__main__":
    name, address = sys.argv[1:]
    framework, _, wanted = name.partition(":")
    print(globals()[framework](address, wanted))

// Runs a tool loop of the AI SDK against a gateway: `node aisdk.mjs API URL`.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [api, url] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "dummy" });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "dummy" });
const model = { chat: () => openai.chat("default"), responses: () => openai("default"), messages: () => anthropic("default") }[api]();
const add = tool({
  description: "Adds two numbers.",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: async ({ a, b }) => `sum ${a + b}`,
});
const request = { model, tools: { add }, prompt: "Add 19 and 23.", stopWhen: stepCountIs(4) };
const whole = await generateText(request);
const stream = streamText(request);
console.log(JSON.stringify({ whole: whole.text, streamed: await stream.text }));

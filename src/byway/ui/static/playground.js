// The page Playground: picks a model, streams its answers, runs demo tools. The conversation is in this page only.
"use strict";

(() => {
  const place = document.getElementById("playground");
  if (!place) return;
  const by = (id) => document.getElementById(id);
  const { root, url } = place.dataset;
  const tools = JSON.parse(place.dataset.tools);
  const limits = { bytes: +place.dataset.imageBytes, images: +place.dataset.images, messages: +place.dataset.messages };
  const MOST_TURNS = 5;
  const talk = by("talk");
  const start = by("start");
  let messages = [];
  let images = [];
  let sent = [];
  let running = null;
  let session = "";

  const make = (tag, className = "", text = "") => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  };
  const announce = (text) => (by("announce").textContent = text);
  const number = (value) => value.toLocaleString("en-US");
  const time = (ms) => (ms < 10_000 ? `${number(Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`);
  const money = (cost) => (cost === 0 ? "" : cost < 0.0001 ? "<$0.0001" : cost < 0.01 ? `$${cost.toPrecision(2)}` : `$${cost.toFixed(2)}`);

  // ---------------------------------------------------------------------------------------------- the model picker
  const pick = by("pick");
  const list = by("pick-list");
  const options = [...list.querySelectorAll("[data-value]")];
  const nothing = list.querySelector(".nothing");
  let chosen = pick.value;
  let active = -1;
  const visible = () => options.filter((option) => !option.hidden);
  const highlight = (index) => {
    const shown = visible();
    active = shown.length ? (index + shown.length) % shown.length : -1;
    for (const option of options) option.classList.toggle("active", option === shown[active]);
    if (active < 0) return pick.removeAttribute("aria-activedescendant");
    pick.setAttribute("aria-activedescendant", shown[active].id);
    shown[active].scrollIntoView({ block: "nearest" });
  };
  const filter = (text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    for (const option of options) option.hidden = !words.every((word) => option.dataset.words.includes(word));
    nothing.hidden = visible().length > 0;
  };
  const open = (all) => {
    filter(all ? "" : pick.value);
    list.hidden = false;
    pick.setAttribute("aria-expanded", "true");
    highlight(visible().findIndex((option) => option.dataset.value === chosen));
  };
  const close = () => {
    list.hidden = true;
    pick.setAttribute("aria-expanded", "false");
    pick.removeAttribute("aria-activedescendant");
  };
  const choose = (option) => {
    chosen = option.dataset.value;
    for (const other of options) other.setAttribute("aria-selected", String(other === option));
    pick.value = chosen;
    by("pick-where").textContent = option.dataset.where;
    by("pick-where").className = `tag ${option.dataset.where}`;
    close();
  };
  pick.addEventListener("click", () => list.hidden && (pick.select(), open(true)));
  pick.addEventListener("input", () => open(false));
  pick.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) open(true);
      else highlight(active + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter") {
      const option = list.hidden ? null : visible()[active];
      if (option) choose(option);
      else if (list.hidden) open(true);
    } else if (event.key === "Escape" && !list.hidden) {
      pick.value = chosen;
      close();
    } else return;
    event.preventDefault();
  });
  // A press on the list must not take the focus from the field.
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", ({ target }) => {
    const option = target.closest("[data-value]");
    if (option) choose(option);
  });
  pick.addEventListener("blur", () => {
    pick.value = chosen;
    close();
  });

  // ---------------------------------------------------------------------------------------------- images
  const thumbnail = async (file) => {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", file.name || "image");
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, 288 / bitmap.width, 224 / bitmap.height);
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return canvas;
  };
  const base64 = (file) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    });
  const showImages = () => {
    by("images").hidden = !images.length;
    by("images").replaceChildren(
      ...images.map((image) => {
        const item = make("li");
        const remove = make("button", "", "×");
        remove.type = "button";
        remove.setAttribute("aria-label", `Remove ${image.name}`);
        remove.addEventListener("click", () => {
          images = images.filter((other) => other !== image);
          showImages();
          by("message").focus();
        });
        item.append(image.canvas, remove);
        return item;
      }),
    );
  };
  const attach = async (files) => {
    for (const file of files) {
      if (!file.type.startsWith("image/")) continue;
      if (images.length >= limits.images) return fail(`A message has at most ${limits.images} images.`);
      if (file.size > limits.bytes) {
        fail(`${file.name} is over ${limits.bytes >> 20} MB. Use a smaller image.`);
        continue;
      }
      try {
        images.push({ name: file.name || "image", type: file.type, file, data: await base64(file), canvas: await thumbnail(file) });
      } catch {
        fail(`${file.name} is not an image that this browser can read.`);
      }
    }
    showImages();
  };
  by("attach").addEventListener("click", () => by("file").click());
  by("file").addEventListener("change", async ({ target }) => {
    await attach([...target.files]);
    target.value = "";
  });
  by("message").addEventListener("paste", ({ clipboardData }) => clipboardData?.files.length && attach([...clipboardData.files]));

  // ---------------------------------------------------------------------------------------------- what is shown
  // New content is followed until the person scrolls up.
  let following = true;
  let followed = 0;
  talk.addEventListener("scroll", () => (following = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60));
  new MutationObserver(() => {
    // The event of a scroll can come later than new content.
    if (talk.scrollTop < followed - 4) following = false;
    if (!following) return;
    talk.scrollTop = talk.scrollHeight;
    followed = talk.scrollTop;
  }).observe(talk, { childList: true, characterData: true, subtree: true });
  const add = (element) => {
    start.hidden = true;
    talk.append(element);
    return element;
  };
  // Text with code between backticks.
  const spans = (text) => text.split(/`([^`\n]{1,200})`/).map((part, index) => (index % 2 ? make("code", "", part) : part));
  const fail = (text, where = null) => {
    const outcome = make("div", "outcome bad");
    outcome.setAttribute("role", "alert");
    const line = make("p");
    line.append(...spans(text));
    outcome.append(line);
    if (where) where.append(outcome);
    else add(outcome);
  };
  const showUser = (text, canvases) => {
    const message = make("div", "message user");
    message.append(make("h3", "", "You"));
    if (canvases.length) {
      const pictures = make("div", "pictures");
      pictures.append(...canvases);
      message.append(pictures);
    }
    message.append(make("p", "text", text));
    add(message);
  };

  // One answer on the page, filled by the events of its stream.
  class Answer {
    constructor(name) {
      this.element = make("div", "message model");
      this.element.append(make("h3", "", name));
      this.cursor = make("p", "text waiting");
      this.element.append(this.cursor);
      this.blocks = [];
      this.stop = "";
      this.summary = null;
      add(this.element);
    }
    place(element) {
      this.element.insertBefore(element, this.cursor);
    }
    start(index, block) {
      const held = { block: structuredClone(block), json: "", element: null };
      this.blocks[index] = held;
      if (block.type === "thinking") {
        const details = make("details", "thought");
        details.append(make("summary", "", "Thinking"));
        held.element = make("p", "text", block.thinking ?? "");
        details.append(held.element);
        this.place(details);
      } else if (block.type === "text") {
        held.element = make("p", "text", block.text ?? "");
        this.place(held.element);
      } else if (block.type === "tool_use") {
        held.call = make("div", "call");
        const title = make("p");
        title.append("Calls ", make("code", "", block.name));
        held.element = make("pre", "", "");
        held.call.append(title, held.element);
        this.place(held.call);
      }
    }
    delta(index, delta) {
      const held = this.blocks[index];
      if (!held) return;
      if (delta.type === "text_delta") held.block.text += delta.text;
      else if (delta.type === "thinking_delta") held.block.thinking += delta.thinking;
      else if (delta.type === "signature_delta") held.block.signature = delta.signature;
      else if (delta.type === "input_json_delta") held.json += delta.partial_json;
      const piece = delta.text ?? delta.thinking ?? delta.partial_json;
      if (piece && held.element) held.element.append(piece);
    }
    end(index) {
      const held = this.blocks[index];
      if (held?.block.type !== "tool_use") return;
      try {
        held.block.input = held.json ? JSON.parse(held.json) : {};
      } catch {
        held.block.input = {};
      }
      held.done = true;
    }
    get text() {
      return this.blocks.map(({ block }) => block.text ?? "").join("");
    }
    // The content for the next request. A stopped answer keeps its text only: a cut thinking block would be refused.
    content(stopped) {
      const blocks = this.blocks.filter(Boolean).map(({ block }) => block);
      const kept = stopped ? blocks.filter(({ type }) => type === "text") : blocks;
      return kept.filter((block) => block.type !== "text" || block.text.trim());
    }
    get calls() {
      return this.blocks.filter((held) => held?.done);
    }
    finish() {
      this.cursor.remove();
    }
    async facts(body, stopped) {
      const facts = make("ul", "facts");
      const say = (text) => text && facts.append(make("li", "", text));
      const summary = this.summary;
      if (summary) {
        if (summary.first_ms !== null) say(`${time(summary.first_ms)} to first token`);
        if (summary.tokens_per_second) say(`${number(summary.tokens_per_second)} tokens/s`);
        const about = summary.estimated ? "~" : "";
        say(`${about}${number(summary.input_tokens)} in${summary.cached_tokens ? ` (${number(summary.cached_tokens)} cached)` : ""}`);
        say(`${about}${number(summary.output_tokens)} out${summary.thinking_tokens ? ` (${number(summary.thinking_tokens)} thinking)` : ""}`);
        if (summary.cost !== null) say(money(summary.cost));
        say(`${time(summary.ms)} in total`);
        say(`${summary.backend}/${summary.model}`);
        if (summary.attempts > 1) say(`${summary.attempts} attempts`);
        for (const words of summary.learned) say(`Byway ${words.replaceAll("`", "")}`);
      }
      if (stopped) say("stopped");
      else if (this.stop === "max_tokens") say("cut at the max tokens");
      else if (this.stop === "refusal") say("refused by the model");
      const copy = make("button", "quiet copy", "Copy as curl");
      copy.type = "button";
      copy.dataset.copy = curl(body);
      const item = make("li");
      item.append(copy);
      facts.append(item);
      this.element.append(facts);
      if (this.id) await link(this.id, facts);
    }
  }

  // The request is in the list a moment after its last byte.
  const link = async (id, facts) => {
    for (const pause of [0, 200, 800]) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        const answer = await fetch(`${root}/playground/request/${id}`, { cache: "no-store" });
        const found = answer.ok ? (await answer.json()).number : null;
        if (found === null) continue;
        const item = make("li");
        const anchor = make("a", "", `Request ${found}`);
        anchor.href = `${root}/requests/${found}`;
        item.append(anchor);
        facts.insertBefore(item, facts.lastElementChild);
        return;
      } catch {
        return;
      }
    }
  };

  const curl = (body) => {
    const shown = JSON.stringify(body, (key, value) => (key === "data" && value.length > 2000 ? "BASE64-OF-THE-IMAGE" : value), 1);
    const quoted = shown.replaceAll("'", "'\\''");
    return `curl ${url} \\\n  -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' -H 'x-api-key: YOUR-KEY' \\\n  -d '${quoted}'`;
  };

  // ---------------------------------------------------------------------------------------------- requests
  const request = (conversation) => {
    const body = { model: chosen, max_tokens: Math.max(1, Math.round(+by("max").value) || 2048), stream: true };
    const system = by("system").value.trim();
    if (system) body.system = system;
    const temperature = by("temperature").value.trim();
    if (temperature !== "") body.temperature = Math.min(1, Math.max(0, +temperature));
    const thinking = by("thinking").value;
    if (thinking === "adaptive") body.thinking = { type: "adaptive" };
    else if (thinking) {
      body.thinking = { type: "enabled", budget_tokens: +thinking };
      body.max_tokens = Math.max(body.max_tokens, +thinking + 1024);
    }
    if (by("effort").value) body.output_config = { effort: by("effort").value };
    if (by("tools").checked) body.tools = tools;
    body.messages = conversation;
    return body;
  };

  const failure = async (answer) => {
    try {
      const { error } = await answer.json();
      return error.message;
    } catch {
      return `Byway answered with status ${answer.status}.`;
    }
  };

  // The events of a stream, as they arrive.
  const events = async function* (answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      for (const frame of frames) {
        const data = frame.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  };

  // Send the conversation and show the answer. Returns the answer, or null when it failed.
  const turn = async (conversation, signal) => {
    const body = structuredClone(request(conversation));
    const answer = new Answer(chosen);
    let stopped = false;
    let problem = "";
    try {
      const response = await fetch(`${root}/playground/messages`, {
        method: "POST",
        headers: { "content-type": "application/json", "anthropic-version": "2023-06-01", "x-claude-code-session-id": session },
        body: JSON.stringify(body),
        signal,
      });
      answer.id = response.headers.get("request-id");
      if (!response.ok) problem = await failure(response);
      else {
        for await (const event of events(response)) {
          if (event.type === "content_block_start") answer.start(event.index, event.content_block);
          else if (event.type === "content_block_delta") answer.delta(event.index, event.delta);
          else if (event.type === "content_block_stop") answer.end(event.index);
          else if (event.type === "message_delta") answer.stop = event.delta.stop_reason ?? "";
          else if (event.type === "byway_summary") answer.summary = event;
          else if (event.type === "error") problem = event.error.message;
        }
        if (!problem && !answer.summary) problem = "The connection to Byway was lost. Is it running?";
      }
    } catch (error) {
      if (signal.aborted) stopped = true;
      else problem = `Byway does not respond: ${error.message}. Is it running?`;
    }
    answer.finish();
    if (problem) fail(problem, answer.element);
    await answer.facts(body, stopped);
    const content = answer.content(stopped || Boolean(problem));
    if (content.length) conversation.push({ role: "assistant", content });
    // The next message of the person repeats what was not answered.
    else if (stopped || problem) restore(conversation);
    if (!stopped && !problem && !content.length) fail("The answer is empty.", answer.element);
    announce(problem ? "The request failed." : stopped ? "Stopped." : "The answer is complete.");
    return stopped || problem ? null : answer;
  };

  // Without an answer the last message is taken back, so that the conversation stays valid.
  const restore = (conversation) => {
    const last = conversation.at(-1);
    if (last?.role !== "user") return;
    conversation.pop();
    if (last.content.some?.(({ type }) => type === "tool_result")) {
      conversation.pop();
      return;
    }
    if (conversation !== messages || by("message").value) return;
    by("message").value = typeof last.content === "string" ? last.content : last.content.find(({ type }) => type === "text")?.text ?? "";
    images = sent;
    showImages();
  };

  const runTools = async (answer, signal) => {
    const results = [];
    for (const { block, call } of answer.calls) {
      let result;
      try {
        const response = await fetch(`${root}/playground/tool`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ name: block.name, input: block.input }),
          signal,
        });
        result = response.ok ? await response.json() : { content: await failure(response), is_error: true };
      } catch (error) {
        if (signal.aborted) return null;
        result = { content: error.message, is_error: true };
      }
      call.append(make("p", "about", result.is_error ? "Error" : "Result"), make("pre", "result", result.content));
      results.push({ type: "tool_result", tool_use_id: block.id, content: result.content, ...(result.is_error ? { is_error: true } : {}) });
    }
    return results;
  };

  const setRunning = (controller) => {
    running = controller;
    by("send").disabled = Boolean(controller);
    by("stop").hidden = !controller;
    talk.setAttribute("aria-busy", String(Boolean(controller)));
  };

  const send = async () => {
    const text = by("message").value.trim();
    if (running || (!text && !images.length)) return;
    if (messages.length >= limits.messages) return fail("This conversation is too long. Start a new one.");
    session ||= `playground-${Math.random().toString(36).slice(2, 12)}`;
    following = true;
    followed = 0;
    const conversation = messages;
    const content = images.map(({ type, data }) => ({ type: "image", source: { type: "base64", media_type: type, data } }));
    if (text) content.push({ type: "text", text });
    conversation.push({ role: "user", content: content.length > 1 || !text ? content : text });
    showUser(text, await Promise.all(images.map(({ file }) => thumbnail(file))));
    sent = images;
    images = [];
    showImages();
    by("message").value = "";
    const controller = new AbortController();
    setRunning(controller);
    try {
      for (let count = 1; ; count += 1) {
        const answer = await turn(conversation, controller.signal);
        if (!answer?.calls.length) break;
        const results = count < MOST_TURNS ? await runTools(answer, controller.signal) : null;
        if (results === null) {
          // Calls without results cannot stay in the conversation.
          conversation.pop();
          restore(conversation);
          if (count === MOST_TURNS) fail(`The model has called tools in ${MOST_TURNS} answers. The loop ends here.`, answer.element);
          break;
        }
        conversation.push({ role: "user", content: results });
      }
    } finally {
      if (running === controller) setRunning(null);
      by("message").focus();
    }
  };

  by("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  by("message").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  by("stop").addEventListener("click", () => running?.abort());
  by("new").addEventListener("click", () => {
    running?.abort();
    setRunning(null);
    messages = [];
    session = "";
    images = [];
    showImages();
    followed = 0;
    talk.replaceChildren(start);
    start.hidden = false;
    by("message").focus();
  });
  start.addEventListener("click", ({ target }) => {
    const idea = target.closest("[data-idea]");
    if (!idea) return;
    by("message").value = idea.dataset.idea;
    if ("ideaTools" in idea.dataset) by("tools").checked = true;
    if ("ideaThinking" in idea.dataset) by("thinking").value = "1024";
    send();
  });
})();

// Copy buttons. Everything else is HTML and htmx; without this file the pages still work.
"use strict";
(() => {
  const typed = () => document.querySelector("[data-key]")?.value.trim() || "";

  // Copied text contains the key that is typed in the card; the key does not leave the browser for that.
  // Special characters are quoted for each shell; fish and PowerShell text has quotes around it already.
  const quoted = {
    bash: (key) => `'${key.replaceAll("'", "'\\''")}'`,
    fish: (key) => key.replaceAll(/[\\']/g, "\\$&"),
    powershell: (key) => key.replaceAll("'", "''"),
    env: (key) => (key.includes("'") ? JSON.stringify(key).replaceAll(/[$`]/g, "\\$&") : `'${key}'`),
    settings: (key) => JSON.stringify(key).slice(1, -1),
  };
  const filled = (text, form) => {
    const key = typed();
    const quotedKey = /^[\w.\/:@+,-]*$/.test(key) ? key : (quoted[form] ?? String)(key);
    return key ? text.replaceAll("YOUR-KEY", () => quotedKey) : text;
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const from = button.dataset.copyFrom;
    const text = filled(from ? document.getElementById(from).textContent.trim() : button.dataset.copy, from?.slice(5));
    const before = (button.dataset.label ??= button.textContent);
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Without HTTPS other machines have no clipboard access: select the text instead.
      const place = from ? document.getElementById(from) : button.previousElementSibling;
      if (place) getSelection().selectAllChildren(place);
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => (button.textContent = before), 1500);
  });

  // A choice that shows other fields: data-shows="id" on the option or radio, data-of="group" on what is shown.
  const shown = (control) => {
    const group = control.dataset.group;
    for (const part of document.querySelectorAll(`[data-of="${group}"]`)) {
      part.hidden = !part.dataset.when.split(" ").includes(control.value);
    }
  };
  const all = (root) => {
    for (const control of root.querySelectorAll("select[data-group], input[type=radio][data-group]:checked")) shown(control);
  };
  document.addEventListener("change", (event) => {
    if (event.target.dataset?.group) shown(event.target);
  });
  document.addEventListener("htmx:load", (event) => {
    all(event.target);
    // Focus the first field of a form that a click opened, unless a field has the focus already.
    if (!event.target.querySelector(":is(input, textarea, select):focus")) event.target.querySelector("[data-focus]")?.focus();
  });
  all(document);
})();

// Show a message while Byway does not respond to forms and updates.
(() => {
  const messages = document.getElementById("messages");
  document.addEventListener("htmx:sendError", () => {
    const outcome = Object.assign(document.createElement("div"), { className: "outcome bad" });
    outcome.setAttribute("role", "alert");
    outcome.textContent = "Byway does not respond. Is it running?";
    messages.replaceChildren(outcome);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { xhr } = event.detail;
    if (xhr.status && xhr.getResponseHeader("hx-retarget") !== "#messages") messages.replaceChildren();
  });
})();

// After a restart: poll until Byway responds, then return. At another port polling is not allowed: navigate there.
(() => {
  const waiting = document.querySelector("[data-return]");
  if (!waiting) return;
  const there = new URL(waiting.dataset.return, location.href);
  if (waiting.dataset.port) there.port = waiting.dataset.port;
  let tries = 0;
  let down = false;
  const look = async () => {
    tries += 1;
    try {
      const answer = await fetch(waiting.dataset.live, { cache: "no-store" });
      // Before the first failure the old process responds: it may still finish its streams.
      if (answer.ok && (down || tries > 60)) return location.assign(there);
    } catch {
      down = true;
      if (waiting.dataset.port) return setTimeout(() => location.assign(there), 3000);
    }
    if (tries < 240) setTimeout(look, 250);
  };
  setTimeout(look, 250);
})();

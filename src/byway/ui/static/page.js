// Copying, and the typed key in what is copied. Everything else is HTML and htmx. Without this file the page can be read.
"use strict";
(() => {
  const typed = () => document.querySelector("[data-key]")?.value.trim() || "";

  // The key that is typed in the card stands in what is copied; it never leaves the browser for that.
  // A key with odd letters is quoted as that form wants it; fish and PowerShell have quotes around it already.
  const quoted = {
    bash: (key) => `'${key.replaceAll("'", "'\\''")}'`,
    fish: (key) => key.replaceAll(/[\\']/g, "\\$&"),
    powershell: (key) => key.replaceAll("'", "''"),
    env: (key) => (key.includes("'") ? JSON.stringify(key).replaceAll(/[$`]/g, "\\$&") : `'${key}'`),
    settings: (key) => JSON.stringify(key).slice(1, -1),
  };
  const filled = (text, form) => {
    const key = typed();
    const said = /^[\w.\/:@+,-]*$/.test(key) ? key : (quoted[form] ?? String)(key);
    return key ? text.replaceAll("YOUR-KEY", () => said) : text;
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
      // No clipboard over plain HTTP from another machine: select it instead.
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
    // A form that was opened by a click wants its first field, unless somebody is quicker.
    if (!event.target.querySelector(":is(input, textarea, select):focus")) event.target.querySelector("[data-focus]")?.focus();
  });
  all(document);
})();

// When nobody answers a form or a look for news: say so once, where it is seen, until somebody answers again.
(() => {
  const told = document.getElementById("told");
  document.addEventListener("htmx:sendError", () => {
    const said = Object.assign(document.createElement("div"), { className: "said bad" });
    said.setAttribute("role", "alert");
    said.textContent = "Byway does not answer. Is it running?";
    told.replaceChildren(said);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { xhr } = event.detail;
    if (xhr.status && xhr.getResponseHeader("hx-retarget") !== "#told") told.replaceChildren();
  });
})();

// After a restart: ask until somebody answers again, then go back. At another port this page may not ask: it just goes there.
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
      // Until it has been down, it is the old one that answers: its streams may take their time.
      if (answer.ok && (down || tries > 60)) return location.assign(there);
    } catch {
      down = true;
      if (waiting.dataset.port) return setTimeout(() => location.assign(there), 3000);
    }
    if (tries < 240) setTimeout(look, 250);
  };
  setTimeout(look, 250);
})();

// Copy buttons. Everything else is HTML and htmx; without this file the pages still work.
"use strict";
// A request that the page sends on its own: a poll, or the reload of a card after another card has changed.
const isRefresh = ({ verb, triggeringEvent }) =>
  verb === "get" && (!triggeringEvent || triggeringEvent instanceof CustomEvent);

(() => {
  const typed = () => document.querySelector("[data-key]")?.value.trim() || "";

  // Copied text contains the key that is typed in the card; the key does not leave the browser for that.
  // Special characters are quoted for each shell; fish and PowerShell text has quotes around it already, bash and .env text
  // around a header only.
  const quoted = {
    bash: (key) => `'${key.replaceAll("'", "'\\''")}'`,
    fish: (key) => key.replaceAll(/[\\']/g, "\\$&"),
    powershell: (key) => key.replaceAll("'", "''"),
    env: (key) => (key.includes("'") ? JSON.stringify(key).replaceAll(/[$`]/g, "\\$&") : `'${key}'`),
    cmd: (key) => key.replaceAll('"', ""),
    docker: (key) => quoted.bash(key),
    ...Object.fromEntries(
      ["settings", "vscode", "jetbrains", "zed", "desktop"].map((name) => [name, (key) => JSON.stringify(key).slice(1, -1)]),
    ),
  };
  const filled = (text, form) => {
    const key = typed();
    const quotedKey = /^[\w.\/:@+,-]*$/.test(key) ? key : (quoted[form] ?? String)(key);
    const isWord = quotedKey !== key && ["bash", "env", "docker"].includes(form);
    return key
      ? text.replaceAll(/'([^'\n]*: )YOUR-KEY'|YOUR-KEY/g, (match, before = "") =>
          isWord ? quoted[form](before + key) : match.replace("YOUR-KEY", () => quotedKey))
      : text;
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
    const { xhr, target, requestConfig } = event.detail;
    if (!xhr.status || target === messages || xhr.getResponseHeader("hx-retarget") === "#messages") return;
    for (const message of [...messages.children]) if (requestConfig.verb !== "get" || message.matches(".bad")) message.remove();
  });
})();

// A refresh waits while the user is busy in the part of the page that it replaces. Otherwise it would clear an edited field, swallow a
// click between press and release, or remove the form whose response is pending.
(() => {
  const running = new Set();
  const waiting = new Map();
  const loading = new Set();
  const outdated = new Set();
  let pressed = null;

  const isEdited = (field) => {
    if (field.matches("[type=hidden], [hx-preserve]")) return false;
    if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
    if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
    const options = [...field.options];
    const initial = options.findLast((option) => option.defaultSelected) ?? options.find((option) => !option.disabled);
    return field.value !== initial?.value;
  };
  const isBusy = (place) =>
    place.contains(pressed) ||
    [...running].some(({ target }) => place.contains(target) || target.contains(place)) ||
    [...place.querySelectorAll("input, select, textarea")].some(
      (field) => field === document.activeElement || isEdited(field),
    );
  const sendWaiting = () => {
    for (const [element, { path, target }] of waiting) {
      const isGone = !element.isConnected || !target.isConnected;
      if (!isGone && isBusy(target)) continue;
      waiting.delete(element);
      if (!isGone) htmx.ajax("get", path, { source: element });
    }
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    const { detail } = event;
    const { xhr, requestConfig } = detail;
    if (isRefresh(requestConfig)) {
      // Nobody sees it: the next one comes with the poll.
      if (document.hidden && !requestConfig.triggeringEvent) return event.preventDefault();
      const { elt } = requestConfig;
      loading.add(elt);
      outdated.delete(elt);
      xhr.addEventListener("loadend", () => loading.delete(elt));
      return;
    }
    running.add(detail);
    xhr.addEventListener("readystatechange", () => {
      // htmx looks up the target when it sends. Another response may have replaced that element since.
      const { id, isConnected } = detail.target;
      if (xhr.readyState === XMLHttpRequest.DONE && id && !isConnected) {
        detail.target = document.getElementById(id) ?? detail.target;
      }
    });
    xhr.addEventListener("loadend", () => {
      running.delete(detail);
      sendWaiting();
    });
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const { target, requestConfig } = detail;
    if (!isRefresh(requestConfig)) return;
    if (outdated.has(requestConfig.elt)) {
      // A swap would drop the newer request, which htmx keeps with the element.
      detail.shouldSwap = false;
    } else if (isBusy(target)) {
      detail.shouldSwap = false;
      waiting.set(requestConfig.elt, { path: requestConfig.path, target });
    }
  });
  document.addEventListener("htmx:trigger", ({ target }) => {
    if (loading.has(target)) outdated.add(target);
  });
  const on = (types, listener) => types.forEach((type) => document.addEventListener(type, listener, true));
  on(["pointerdown", "keydown"], (event) => (pressed = event.target));
  on(["pointerup", "pointercancel", "keyup"], () => {
    // The click follows in the same task.
    setTimeout(() => {
      pressed = null;
      sendWaiting();
    });
  });
  on(["change", "focusout"], () => setTimeout(sendWaiting));
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

// A message at the top of the window: the outcome of an action stays in its card, and is seen wherever the page is scrolled to.
const showToast = (() => {
  const seconds = 20;
  const remove = (toast) => toast.remove();
  const show = (toast) => {
    if (!toast.matches("[data-toast]") || toast.closest(".near")) return false;
    for (const other of document.querySelectorAll(".toast")) if (other !== toast) remove(other);
    toast.classList.add("toast");
    const close = Object.assign(document.createElement("button"), { type: "button", className: "close", textContent: "×" });
    close.setAttribute("aria-label", "Close message");
    close.addEventListener("click", () => remove(toast));
    toast.append(close);
    if (toast.matches(".good")) {
      let timer = 0;
      const wait = () => (timer = setTimeout(() => remove(toast), seconds * 1000));
      toast.addEventListener("pointerenter", () => clearTimeout(timer));
      toast.addEventListener("pointerleave", wait);
      toast.addEventListener("focusin", () => clearTimeout(timer));
      toast.addEventListener("focusout", wait);
      wait();
    }
    return true;
  };
  // A refresh of the card must not take the message away.
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const toast = detail.target.querySelector?.(":scope .toast");
    if (toast && isRefresh(detail.requestConfig)) document.getElementById("messages").replaceChildren(toast);
  });
  // Undo reloads the page's contents.
  document.addEventListener("config-undone", () => {
    for (const toast of document.querySelectorAll("main .toast")) remove(toast);
    htmx.ajax("get", location.pathname + location.search, {
      target: "#main",
      select: "#main",
      swap: "outerHTML",
      // Not a refresh: it also replaces what was typed.
      event: new Event("undo"),
    });
  });
  return show;
})();

// An action replaces its card: the focus returns to the control that started it, and its outcome is scrolled into view.
(() => {
  let pressed = null;
  const describe = (control) => ({
    id: control.id,
    tag: control.tagName,
    form: control.closest("form")?.getAttribute("action"),
    label: control.getAttribute("aria-label") ?? control.textContent.trim(),
    name: control.getAttribute("name"),
    href: control.getAttribute("href"),
  });
  const find = ({ id, tag, form, label, name, href }) =>
    (id && document.getElementById(id)) ||
    [...document.querySelectorAll(tag)].find(
      (control) =>
        control.closest("form")?.getAttribute("action") === form &&
        control.getAttribute("name") === name &&
        control.getAttribute("href") === href &&
        (control.getAttribute("aria-label") ?? control.textContent.trim()) === label,
    );
  document.addEventListener("htmx:beforeRequest", (event) => {
    const active = document.activeElement;
    const { elt, requestConfig } = event.detail;
    // A refresh moves neither the focus nor the page.
    if (!isRefresh(requestConfig) && elt.contains(active)) pressed = { ...describe(active), xhr: event.detail.xhr };
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    // Other cards may be loaded again at the same time.
    if (!pressed || pressed.xhr !== event.detail.xhr) return;
    const control = pressed;
    pressed = null;
    const changed = event.detail.target?.isConnected ? event.detail.target : event.detail.elt;
    const place = changed.id ? document.getElementById(changed.id) ?? changed : changed;
    const outcome = place.querySelector(".outcome[role]");
    if (document.activeElement === document.body) {
      const next = find(control);
      if (next) next.focus({ preventScroll: true });
      else if (outcome) {
        // The control is gone: a removed row, an Undo.
        outcome.tabIndex = -1;
        outcome.focus({ preventScroll: true });
      }
    }
    const isToast = outcome && event.detail.requestConfig.verb !== "get" && showToast(outcome);
    if (!isToast) outcome?.scrollIntoView({ block: "nearest" });
  });
  // What a refresh replaces keeps the focus, and stays open.
  let replaced = null;
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const { target, requestConfig, xhr } = detail;
    if (!isRefresh(requestConfig)) return;
    const active = document.activeElement;
    const open = [...target.querySelectorAll("details[id][open]")].map(({ id }) => id);
    replaced = { xhr, open, control: target.contains(active) ? describe(active) : null };
  });
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    if (replaced?.xhr !== detail.xhr) return;
    const { open, control } = replaced;
    replaced = null;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (control && document.activeElement === document.body) find(control)?.focus({ preventScroll: true });
  });
  // Escape closes the panel that has the focus, else the last one that was opened.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const toast = document.querySelector(".toast");
    if (toast && !document.activeElement?.closest(".panel")) return toast.remove();
    const close = document.activeElement?.closest(".panel")?.querySelector("[data-close]");
    (close ?? [...document.querySelectorAll(".panel [data-close]")].at(-1))?.click();
  });
})();

// On a narrow window a button opens the menu. Without this script it is a link to the menu, which CSS then shows.
(() => {
  const button = document.querySelector("[data-menu]");
  if (!button) return;
  const menu = document.getElementById("menu");
  const open = (isOpen) => {
    menu.classList.toggle("open", isOpen);
    button.setAttribute("aria-expanded", isOpen);
  };
  button.setAttribute("role", "button");
  button.setAttribute("aria-controls", "menu");
  open(false);
  button.addEventListener("click", (event) => {
    event.preventDefault();
    open(!menu.classList.contains("open"));
  });
  button.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    button.click();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.classList.contains("open")) return;
    event.preventDefault();
    open(false);
    button.focus();
  });
})();

// Cards that have moved to another page: links to their old place are followed to the new one.
(() => {
  const moved = document.querySelector("meta[name=moved]");
  const follow = () => {
    if (moved.content.split(" ").includes(location.hash.slice(1))) location.replace(moved.dataset.to + location.hash);
  };
  if (!moved) return;
  addEventListener("hashchange", follow);
  follow();
})();

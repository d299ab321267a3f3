// The page Models: filters of lists that are complete on the page, and menus of actions. Without this file both still work.
"use strict";
document.documentElement.classList.add("scripted");

// A search field filters the entries of a list: data-filter="#list" on the field, data-words on each entry.
(() => {
  const filter = (field) => {
    const list = document.querySelector(field.dataset.filter);
    if (!list) return;
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const entry of list.querySelectorAll("[data-words]")) {
      entry.hidden = !words.every((word) => entry.dataset.words.includes(word));
      if (!entry.hidden) shown += 1;
    }
    for (const group of list.querySelectorAll("[data-group-of]")) {
      group.hidden = !group.querySelector("[data-words]:not([hidden])");
    }
    const nothing = document.querySelector(`[data-nothing="${field.dataset.filter}"]`);
    if (nothing) nothing.hidden = shown > 0;
  };
  // A list that was loaded again is complete.
  document.addEventListener("htmx:afterSettle", () => {
    for (const field of document.querySelectorAll("[data-filter]")) if (field.value) filter(field);
  });
  document.addEventListener("input", ({ target }) => target.dataset?.filter && filter(target));
  // Enter would submit the form of the list.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.dataset?.filter) event.preventDefault();
  });
})();

// A menu of actions is a <details>: one is open at a time, Escape and a click elsewhere close it.
(() => {
  const MENU = "details.actions";
  const close = (except) => {
    for (const menu of document.querySelectorAll(`${MENU}[open]`)) if (menu !== except) menu.open = false;
  };
  document.addEventListener("click", ({ target }) => close(target.closest?.(".items :is(a, button)") ? null : target.closest?.(MENU)));
  document.addEventListener("keydown", (event) => {
    const menu = document.activeElement?.closest(MENU) ?? document.querySelector(`${MENU}[open]`);
    if (!menu?.open) return;
    const items = [...menu.querySelectorAll(".items :is(a, button)")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    } else if (step) {
      const at = items.indexOf(document.activeElement);
      items[(at + step + items.length) % items.length]?.focus();
    } else return;
    event.preventDefault();
  }, true);

  // A card that is loaded again keeps its open details; the focus returns from a used menu to its button.
  let used = "";
  let opened = [];
  let focused = "";
  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    const menu = detail.elt.closest?.(MENU);
    if (menu) used = menu.id;
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    focused = detail.target.contains(document.activeElement) ? document.activeElement.id : "";
    opened = [...detail.target.querySelectorAll("details[open][id]")].filter((part) => !part.matches(MENU)).map(({ id }) => id);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const id of opened) {
      const part = document.getElementById(id);
      if (part) part.open = true;
    }
    opened = [];
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus({ preventScroll: true });
    focused = "";
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (!used || document.activeElement !== document.body) return;
    document.getElementById(used)?.querySelector("summary").focus({ preventScroll: true });
    used = "";
  });
})();

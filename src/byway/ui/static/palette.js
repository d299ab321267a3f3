// Ctrl-K searches pages, cards, models, aliases and actions; `?` lists the keys.
"use strict";
(() => {
  const dialog = document.getElementById("palette");
  const shortcuts = document.getElementById("shortcuts");
  const opener = document.querySelector("[data-palette]");
  if (!dialog || !opener) return;
  const isTyping = (element) => element.matches("input, textarea, select, [contenteditable]");

  const filter = (input) => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const start = words.join(" ");
    let best = null;
    let most = Infinity;
    for (const section of dialog.querySelectorAll("section")) {
      const group = section.getAttribute("aria-label").toLowerCase();
      let isEmpty = true;
      for (const item of section.querySelectorAll("li")) {
        const title = item.querySelector("span").textContent.toLowerCase();
        const text = `${title} ${item.querySelector("small")?.textContent.toLowerCase() ?? ""} ${group}`;
        item.hidden = !words.every((word) => text.includes(word));
        if (item.hidden) continue;
        isEmpty = false;
        const rank = title.startsWith(start) ? 0 : title.includes(start) ? 1 : 2;
        if (rank < most) [best, most] = [item, rank];
      }
      section.hidden = isEmpty;
    }
    for (const item of dialog.querySelectorAll(".best")) item.classList.remove("best");
    best?.classList.add("best");
    dialog.querySelector("[data-none]").hidden = best !== null;
  };

  const open = async () => {
    if (dialog.open) return;
    shortcuts.close();
    const answer = await fetch(opener.href, { headers: { "HX-Request": "true" } });
    const there = answer.headers.get("hx-redirect");
    if (there) return location.assign(there);
    if (!answer.ok || dialog.open) return;
    // It is the server's own HTML, as in every other card.
    dialog.innerHTML = await answer.text();
    const input = dialog.querySelector("[data-find]");
    input.hidden = false;
    filter(input);
    input.addEventListener("input", () => filter(input));
    dialog.showModal();
    input.focus();
  };

  opener.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      return dialog.open ? dialog.close() : open();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open || isTyping(event.target)) return;
    if (event.key === "?" && !shortcuts.open) shortcuts.showModal();
    if (event.key !== "/") return;
    const field = document.querySelector("main input[type=search], main [data-filter]");
    if (!field) return;
    event.preventDefault();
    field.focus();
  });

  // Arrows move through what is found, Enter in the field opens the best match, and typing goes on in the field.
  dialog.addEventListener("keydown", (event) => {
    const input = dialog.querySelector("[data-find]");
    const items = [...dialog.querySelectorAll("li:not([hidden]) :is(a, button)")].filter((item) => item.checkVisibility());
    const at = items.indexOf(document.activeElement);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const best = dialog.querySelector(".best :is(a, button)");
      const next = event.key === "ArrowUp" ? items[at - 1] : at < 0 ? best : items[Math.min(at + 1, items.length - 1)];
      (next ?? input).focus();
    } else if (event.key === "Escape") {
      // Chromium would only clear the field.
      event.preventDefault();
      dialog.close();
    } else if (event.key === "Enter" && document.activeElement === input) {
      event.preventDefault();
      dialog.querySelector(".best :is(a, button)")?.click();
    } else if (event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && document.activeElement !== input) {
      input.focus();
    }
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) return dialog.close();
    const link = event.target.closest("a");
    if (link && new URL(link.href).pathname === location.pathname) dialog.close();
  });
  document.addEventListener("click", (event) => {
    const { question } = event.target.closest("[data-question]")?.dataset ?? {};
    if (question && !confirm(question)) event.preventDefault();
  });
})();

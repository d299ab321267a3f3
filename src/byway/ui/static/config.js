// The editor of the page Config: line numbers, colours, indentation, jumps to problems. Without this file it is a text area.
"use strict";
(() => {
  // Longer texts are not coloured: each key would paint them again.
  const LONGEST_PAINTED = 200_000;
  const TOKEN =
    /(#[^\n]*)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*')|(\$\{[^}\n]*\})|(SECRET-NOT-SHOWN-[0-9a-f]{8})|\b(true|false|null|yes|no|on|off)\b(?=\s*(?:[,\]}#]|$))|(?<=(?::|-|,)\s+|\[|,)(-?\d+(?:\.\d+)?(?:ms|s|m|h|d|k|MB|GB)?)(?=\s*(?:[,\]}#]|$))/gm;
  const NAMES = ["comment", "text", "variable", "hidden-secret", "word", "word"];

  const escaped = (text) => text.replace(/[&<>]/g, (mark) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[mark]);
  const inside = (text) => text.replace(/\$\{[^}\n]*\}|SECRET-NOT-SHOWN-[0-9a-f]{8}/g, (word) =>
    `<span class="${word.startsWith("$") ? "variable" : "hidden-secret"}">${word}</span>`);

  const paintRest = (text) => {
    let html = "";
    let at = 0;
    for (const match of text.matchAll(TOKEN)) {
      const kind = NAMES[match.slice(1).findIndex((group) => group !== undefined)];
      // A # within a word is no comment.
      if (kind === "comment" && match.index && !/\s/.test(text[match.index - 1])) continue;
      html += escaped(text.slice(at, match.index));
      html += `<span class="${kind}">${kind === "text" ? inside(escaped(match[0])) : escaped(match[0])}</span>`;
      at = match.index + match[0].length;
    }
    return html + escaped(text.slice(at));
  };
  const paintLine = (line) => {
    const name = /^(\s*(?:- )*)([\w.*\/@"'-]+)(:)(?=\s|$)/.exec(line);
    if (!name) return paintRest(line);
    return `${escaped(name[1])}<span class="name">${escaped(name[2])}</span>:${paintRest(line.slice(name[0].length))}`;
  };

  const set = (sheet) => {
    const area = sheet.querySelector("textarea");
    const gutter = sheet.querySelector(".gutter");
    const paint = sheet.querySelector(".paint");
    const card = sheet.closest(".card");
    let lines = gutter.childElementCount;
    const marked = () => {
      for (const number of gutter.querySelectorAll("[class]")) number.removeAttribute("class");
      for (const { dataset } of card.querySelectorAll("[data-line]")) {
        const number = gutter.children[dataset.line - 1];
        if (number && number.className !== "error") number.className = dataset.severity;
      }
    };
    const follow = () => {
      gutter.scrollTop = area.scrollTop;
      paint.style.transform = `translate(${-area.scrollLeft}px, ${-area.scrollTop}px)`;
    };
    const draw = () => {
      const text = area.value;
      const count = text.split("\n").length;
      if (count !== lines) {
        gutter.innerHTML = Array.from({ length: count }, (_, at) => `<span>${at + 1}</span>`).join("");
        lines = count;
        marked();
      }
      const painted = text.length <= LONGEST_PAINTED;
      sheet.classList.toggle("live", painted);
      if (painted) {
        paint.innerHTML = text.split("\n").map(paintLine).join("\n") + "\n";
        paint.style.inset = "0 auto auto 0";
        paint.style.overflow = "visible";
      }
      const unsaved = card.querySelector(".unsaved");
      if (unsaved) unsaved.hidden = text === area.defaultValue;
      follow();
    };
    area.addEventListener("input", draw);
    area.addEventListener("scroll", follow);
    area.addEventListener("keydown", (event) => keyed(event, area));
    // Who comes by Tab also leaves by Tab, until something is typed or clicked.
    area.addEventListener("focus", () => (leaves = true));
    area.addEventListener("pointerdown", () => setTimeout(() => (leaves = false)));
    sheet.redraw = marked;
    marked();
    draw();
  };

  // Replacing text through execCommand keeps the browser's own undo.
  const insert = (area, text) => {
    if (!document.execCommand("insertText", false, text)) {
      area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
  };
  let leaves = false;
  const keyed = (event, area) => {
    const { selectionStart: from, selectionEnd: to, value } = area;
    if (event.key === "Escape") {
      leaves = true;
    } else if (event.key === "Tab" && !leaves && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      const start = value.lastIndexOf("\n", from - 1) + 1;
      const isMany = value.slice(from, to).includes("\n");
      if (!event.shiftKey && !isMany) return insert(area, " ".repeat(2 - ((from - start) % 2)));
      const end = (value.indexOf("\n", Math.max(from, to - 1)) + 1 || value.length + 1) - 1;
      const block = value.slice(start, end);
      const moved = event.shiftKey ? block.replace(/^ {1,2}/gm, "") : block.replace(/^(?=.)/gm, "  ");
      if (moved === block) return;
      area.setSelectionRange(start, end);
      insert(area, moved);
      if (isMany) area.setSelectionRange(start, start + moved.length);
      else area.setSelectionRange(Math.max(start, from + moved.length - block.length), Math.max(start, from + moved.length - block.length));
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      const line = value.slice(value.lastIndexOf("\n", from - 1) + 1, from);
      const indent = /^ */.exec(line)[0] + (/^\s*- \S+:\s/.test(line) || /:\s*$/.test(line) ? "  " : "");
      insert(area, `\n${indent}`);
    } else if (event.key !== "Shift") {
      leaves = false;
    }
  };

  const jump = (number) => {
    const area = document.getElementById("config-text");
    const before = area.value.split("\n").slice(0, number - 1).join("\n").length;
    const from = number > 1 ? before + 1 : 0;
    const end = area.value.indexOf("\n", from);
    area.focus();
    leaves = false;
    area.setSelectionRange(from, end < 0 ? area.value.length : end);
    const height = parseFloat(getComputedStyle(area).lineHeight);
    area.scrollTop = Math.max(0, (number - 1) * height - area.clientHeight / 2);
    area.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-line]");
    if (link) jump(Number(link.dataset.line));
    const area = document.getElementById("config-text");
    if (area && event.target.closest("[data-discard]")) area.defaultValue = area.value;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "s" || !(event.ctrlKey || event.metaKey) || event.altKey) return;
    const form = document.getElementById("config-form");
    if (!form || form.closest("[disabled]")) return;
    event.preventDefault();
    form.requestSubmit(form.querySelector("button.main"));
  });
  // A chosen file is read into the text area; only its text is sent.
  document.addEventListener("change", async (event) => {
    const into = document.getElementById(event.target.dataset?.into ?? "");
    const [file] = event.target.files ?? [];
    if (!into || !file) return;
    into.value = file.size > 1 << 20 ? "" : await file.text();
    if (!into.value) into.placeholder = "This file is empty, or larger than 1 MB.";
    into.dispatchEvent(new Event("input", { bubbles: true }));
  });

  // A save replaces the editor: the caret and the place stay. A list of problems marks lines.
  let place = null;
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const area = document.getElementById("config-text");
    if (detail.target.id !== "editor" || !area) return;
    const { selectionStart, selectionEnd, scrollTop, scrollLeft } = area;
    place = { selectionStart, selectionEnd, scrollTop, scrollLeft, height: area.style.height };
    // htmx would copy it as an attribute, which the security policy of the page forbids.
    area.removeAttribute("style");
  });
  document.addEventListener("htmx:load", ({ target }) => {
    const sheet = document.querySelector("[data-editor]");
    if (target.id === "config-problems") return sheet?.redraw();
    // The card was replaced, or the whole page after an Undo.
    if (!sheet || sheet.redraw) return;
    set(sheet);
    const area = sheet.querySelector("textarea");
    if (place) {
      if (place.height) setTimeout((height) => (area.style.height = height), 0, place.height);
      area.setSelectionRange(place.selectionStart, place.selectionEnd);
      area.scrollTop = place.scrollTop;
      area.scrollLeft = place.scrollLeft;
      place = null;
    }
  });
  addEventListener("beforeunload", (event) => {
    const area = document.getElementById("config-text");
    if (area && area.value !== area.defaultValue) event.preventDefault();
  });
  document.addEventListener("submit", (event) => {
    // Discarding is a link; a form that is sent loses nothing.
    if (event.target.id === "config-form") {
      const area = document.getElementById("config-text");
      area.defaultValue = area.value;
    }
  });
  for (const sheet of document.querySelectorAll("[data-editor]")) set(sheet);
  // From another page: `/config#line-12`.
  const wanted = /^#line-(\d{1,6})$/.exec(location.hash);
  if (wanted) jump(Number(wanted[1]));
})();

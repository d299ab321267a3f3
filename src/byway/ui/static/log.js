// The page Log: it follows new lines while its end is in view, and can be paused. Without this file it shows the lines as they are now.
"use strict";
(() => {
  // Older lines leave the page; the filter finds them again.
  const MOST_LINES = 2000;
  const lines = () => document.getElementById("log-lines")?.parentElement;
  const pauseButton = () => document.querySelector("[data-pause]");
  const atEnd = (list) => list.scrollHeight - list.scrollTop - list.clientHeight < 24;
  let paused = false;
  let follows = true;

  const showFollows = () =>
    document.querySelector("[data-newest]").setAttribute("aria-pressed", String(follows && !paused));
  const show = () => {
    const list = lines();
    if (!list) return;
    if (follows && !paused) list.scrollTop = list.scrollHeight;
    showFollows();
    const button = pauseButton();
    button.textContent = paused ? "Resume" : "Pause";
    button.setAttribute("aria-pressed", String(paused));
    document.querySelector("[data-state]").textContent = paused ? "Paused." : "";
  };
  const watch = () => {
    lines()?.addEventListener("scroll", () => {
      follows = atEnd(lines());
      showFollows();
    });
    show();
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-pause]")) paused = !paused;
    else if (event.target.closest("[data-newest]")) [follows, paused] = [true, false];
    else return;
    show();
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (paused && event.detail.elt.id === "log-more") event.preventDefault();
  });
  document.addEventListener("htmx:oobAfterSwap", () => {
    const list = document.getElementById("log-lines");
    while (list.children.length > MOST_LINES) list.firstElementChild.remove();
    show();
  });
  document.addEventListener("htmx:load", ({ target }) => {
    // The card was replaced, or the whole page after an Undo.
    if (target.id !== "log" && !target.querySelector?.("#log")) return;
    follows = true;
    watch();
  });
  watch();
})();

// The page Requests: a click anywhere in a row opens its request beside the list.
"use strict";
(() => {
  const drawer = document.getElementById("drawer");
  if (!drawer) return;
  let opener = null;
  document.addEventListener("click", (event) => {
    const link = event.target.closest("tr")?.querySelector("[data-row]");
    if (link && !event.target.closest("a, button, summary, details") && getSelection().isCollapsed) link.click();
    if (event.target.closest("[data-row]")) opener = event.target.closest("[data-row]").getAttribute("href");
    if (!event.target.closest("#drawer [data-close]")) return;
    drawer.replaceChildren();
    document.querySelector(`[data-row][href="${opener}"]`)?.focus();
  });
})();

// Equal lines of a comparison are folded until their button is pressed.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-unfold]");
  if (!button) return;
  const lines = button.closest("tbody").nextElementSibling;
  lines.hidden = !lines.hidden;
  button.setAttribute("aria-expanded", String(!lines.hidden));
});

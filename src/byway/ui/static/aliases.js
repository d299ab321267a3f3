// Model Aliases: the targets of an alias as a list that can be ordered, with a search among all models. The text field that the form
// sends stays the truth; without this file it is what the page shows.
"use strict";

(() => {
  const make = (tag, properties = {}, ...children) => {
    const { data, aria, ...rest } = properties;
    const element = Object.assign(document.createElement(tag), rest);
    Object.assign(element.dataset, data);
    for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(name === "role" ? name : `aria-${name}`, value);
    element.append(...children);
    return element;
  };
  const split = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);
  let ids = 0;
  let isPressed = false;
  document.addEventListener("pointerdown", () => (isPressed = true), true);
  for (const type of ["pointerup", "pointercancel"]) document.addEventListener(type, () => (isPressed = false), true);

  // The popup of a combobox: targets found by the server, by backend.
  const picker = (box, address, choose) => {
    const list = make("div", { id: `picker-${(ids += 1)}`, className: "picker", hidden: true, aria: { role: "listbox", label: "Models" } });
    let active = null;
    let timer = 0;
    let pending = null;
    for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", list.id]]) {
      box.setAttribute(name, value);
    }
    const options = () => [...list.querySelectorAll("[role=option]")];
    const mark = (option) => {
      active?.setAttribute("aria-selected", "false");
      active = option ?? null;
      active?.setAttribute("aria-selected", "true");
      active?.scrollIntoView({ block: "nearest" });
      if (active) box.setAttribute("aria-activedescendant", active.id);
      else box.removeAttribute("aria-activedescendant");
    };
    const close = () => {
      clearTimeout(timer);
      pending?.abort();
      list.hidden = true;
      box.setAttribute("aria-expanded", "false");
      mark(null);
    };
    const search = async () => {
      pending?.abort();
      pending = new AbortController();
      try {
        const answer = await fetch(`${address}?q=${encodeURIComponent(box.value.trim())}`, { headers: { "hx-request": "true" }, signal: pending.signal });
        if (!answer.ok || document.activeElement !== box) return;
        list.innerHTML = await answer.text();
      } catch {
        return;
      }
      active = null;
      options().forEach((option, at) => (option.id = `${list.id}-${at}`));
      if (!options().length) list.replaceChildren(make("p", { className: "more", textContent: "No model matches. Press Enter to use the typed name." }));
      list.hidden = false;
      box.setAttribute("aria-expanded", "true");
      mark(null);
    };
    box.addEventListener("click", () => list.hidden && void search());
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(search, 100);
    });
    box.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        if (list.hidden) return void search();
        const all = options();
        const at = all.indexOf(active);
        mark(all[at < 0 ? (step > 0 ? 0 : all.length - 1) : (at + step + all.length) % all.length]);
      } else if (event.key === "Escape" && !list.hidden) {
        event.preventDefault();
        close();
      } else if (event.key === "Enter" && (active || box.value.trim())) {
        event.preventDefault();
        choose(active ? active.dataset.value : box.value);
        close();
      }
    });
    // The field keeps the focus while the list is used with a pointer.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (!option) return;
      choose(option.dataset.value);
      close();
    });
    box.addEventListener("blur", close);
    return list;
  };

  const enhance = (place) => {
    if (place.dataset.ready) return;
    place.dataset.ready = "yes";
    const field = place.querySelector("input");
    const label = place.dataset.targets;
    const unserved = split(place.dataset.unserved ?? "");
    const address = place.closest("form").dataset.find;
    const chips = make("ol", { className: "chips", aria: { label: `${label.replace("Targets of ", "")}: targets in order` } });
    const status = make("span", { className: "hidden", aria: { role: "status" } });
    const box = make("input", { type: "text", className: "add-target", autocomplete: "off", spellcheck: false, aria: { label } });
    let dragged = null;

    const values = () => [...chips.children].map((chip) => chip.dataset.value);
    const save = () => {
      field.value = values().join(", ");
      for (const chip of chips.children) {
        chip.querySelector("[data-move='-1']").disabled = chip === chips.firstElementChild;
        chip.querySelector("[data-move='1']").disabled = chip === chips.lastElementChild;
      }
      box.placeholder = chips.children.length ? "Add a fallback" : field.placeholder === "none" ? "Add a model" : field.placeholder;
      field.dispatchEvent(new Event("change", { bubbles: true }));
    };
    const button = (text, label, data) => make("button", { type: "button", className: "quiet", textContent: text, data, aria: { label } });
    const add = (text) => {
      for (const value of split(text)) {
        if (values().includes(value)) continue;
        const chip = make("li", { className: "chip", draggable: true, data: { value } },
          make("span", { className: "grip", aria: { hidden: "true" } }),
          make("span", { className: "target", textContent: value }),
          button("↑", `Move ${value} up`, { move: "-1" }), button("↓", `Move ${value} down`, { move: "1" }),
          button("✕", `Remove ${value}`, { remove: "" }));
        if (unserved.includes(value)) chip.querySelector(".target").append(make("small", { className: "why", textContent: " not served" }));
        chips.append(chip);
      }
      box.value = "";
      save();
    };
    const move = (chip, step) => {
      const other = step < 0 ? chip.previousElementSibling : chip.nextElementSibling;
      if (!other) return;
      if (step < 0) other.before(chip);
      else other.after(chip);
      save();
      status.textContent = `${chip.dataset.value} is number ${values().indexOf(chip.dataset.value) + 1} of ${values().length}.`;
    };
    const remove = (chip) => {
      const next = chip.nextElementSibling ?? chip.previousElementSibling;
      chip.remove();
      save();
      (next?.querySelector("[data-remove]") ?? box).focus();
    };

    chips.addEventListener("click", ({ target }) => {
      const chip = target.closest(".chip");
      if (target.dataset.move) {
        move(chip, Number(target.dataset.move));
        // A disabled button loses the focus: the other direction is still possible.
        if (target.disabled) chip.querySelector("[data-move]:not(:disabled)")?.focus();
        else target.focus();
      } else if ("remove" in target.dataset) remove(chip);
    });
    chips.addEventListener("keydown", (event) => {
      const step = event.altKey && { ArrowUp: -1, ArrowDown: 1 }[event.key];
      const chip = event.target.closest(".chip");
      if (step) move(chip, step);
      else if (event.key === "Delete") remove(chip);
      else return;
      event.preventDefault();
      if (step) (event.target.disabled ? chip.querySelector("[data-remove]") : event.target).focus();
    });
    chips.addEventListener("dragstart", (event) => {
      dragged = event.target.closest(".chip");
      dragged?.classList.add("dragged");
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", dragged?.dataset.value ?? "");
    });
    chips.addEventListener("dragover", (event) => {
      const over = event.target.closest?.(".chip");
      if (!dragged || !over) return;
      event.preventDefault();
      if (over === dragged) return;
      const { top, height } = over.getBoundingClientRect();
      if (event.clientY < top + height / 2) over.before(dragged);
      else over.after(dragged);
    });
    chips.addEventListener("drop", (event) => event.preventDefault());
    chips.addEventListener("dragend", () => {
      dragged?.classList.remove("dragged");
      dragged = null;
      save();
    });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && !box.value && chips.lastElementChild) {
        chips.lastElementChild.remove();
        save();
      }
    });
    // What was typed and not confirmed counts too. It becomes an entry after the click that ended the typing: before that it would
    // move what is clicked.
    box.addEventListener("blur", () => {
      if (!box.value.trim()) return;
      field.value = [...values(), ...split(box.value)].join(", ");
      const confirm = () => setTimeout(() => place.isConnected && document.activeElement !== box && box.value.trim() && add(box.value));
      if (isPressed) document.addEventListener("pointerup", confirm, { once: true });
      else confirm();
    });

    const list = picker(box, address, add);
    const initial = field.value;
    field.hidden = true;
    field.removeAttribute("aria-label");
    field.removeAttribute("list");
    place.append(chips, box, list, status);
    if (initial) add(initial);
    else save();
    field.value = initial;
  };

  const enhanceAll = (root) => {
    for (const place of root.querySelectorAll("[data-targets]")) enhance(place);
    for (const hint of root.querySelectorAll("[data-plain]")) hint.hidden = true;
    for (const adder of root.querySelectorAll("[data-add-row]")) adder.hidden = false;
    for (const field of root.querySelectorAll("input[data-find-target]:not([data-ready])")) {
      field.dataset.ready = "yes";
      field.removeAttribute("list");
      field.after(picker(field, field.dataset.findTarget, (value) => {
        field.value = value;
        field.dispatchEvent(new Event("change", { bubbles: true }));
      }));
    }
  };

  document.addEventListener("click", ({ target }) => {
    if (!target.closest?.("[data-add-row]")) return;
    const form = target.closest("form");
    const last = form.querySelector("tr[data-new]");
    const row = last.cloneNode(true);
    ids += 1;
    for (const part of row.querySelectorAll(".chips, .add-target, .picker, [role=status]")) part.remove();
    for (const place of row.querySelectorAll("[data-ready]")) delete place.dataset.ready;
    for (const field of row.querySelectorAll("input")) {
      field.name = `${field.name.split(":")[0]}:${ids}`;
      field.value = "";
      field.removeAttribute("value");
      field.hidden = false;
    }
    delete last.dataset.new;
    last.after(row);
    enhanceAll(row);
    row.querySelector("input").focus();
  });
  document.addEventListener("htmx:load", ({ target }) => enhanceAll(target));
  enhanceAll(document);
})();

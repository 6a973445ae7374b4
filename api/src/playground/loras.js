// The LoRAs that the app offers, and those of the request: one row each, with its scale.

import { button, element, make } from "/playground/parts.js";

const MOST = 8;

/** The rows, in their order: the entry of the request, and the field of its scale. */
let rows = [];

/** Shows what the app offers. The list is hidden if there is nothing to choose and nothing chosen. */
export function offerLoras(names) {
  const list = element("lora");
  const known = [...list.options].slice(1).map((option) => option.value);
  if (known.join("\n") !== names.join("\n")) {
    list.replaceChildren(new Option("Choose a LoRA to add", ""), ...names.map((name) => new Option(name)));
  }
  show();
}

export function chosenLoras() {
  return rows.map(({ entry, scale }) => {
    const text = scale.value.trim();
    return text === "" || !Number.isFinite(Number(text)) ? entry : { ...entry, scale: Number(text) };
  });
}

export function fillLoras(entries) {
  rows.forEach(({ row }) => row.remove());
  rows = [];
  entries.forEach(add);
  show();
}

function add(entry) {
  const { path, scale: given = 1, ...others } = entry;
  const scale = make("input", { type: "number", step: "0.05", value: given, min: -10, max: 10 });
  scale.setAttribute("aria-label", `Scale of ${path}`);
  const remove = button("Remove", () => {
    rows = rows.filter((one) => one.row !== row);
    row.remove();
    show();
    element("lora").focus();
  }, { className: "small" });
  remove.setAttribute("aria-label", `Remove ${path}`);
  const row = make("li", {}, make("span", { textContent: path }), scale, remove);
  rows.push({ row, scale, entry: { path, ...others } });
  element("loras").append(row);
}

function show() {
  element("lora-field").hidden = rows.length === 0 && element("lora").options.length < 2;
  element("lora").disabled = rows.length >= MOST;
}

element("lora").addEventListener("change", ({ target }) => {
  if (target.value !== "") {
    add({ path: target.value });
    target.selectedIndex = 0;
    show();
  }
});

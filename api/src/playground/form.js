// The form: what it says as a request, and a request as what it says.

import { clearFields } from "/playground/fields.js";
import { fillInput, inputMembers } from "/playground/input.js";
import { chosenLoras, fillLoras } from "/playground/loras.js";
import { element } from "/playground/parts.js";

/** The plain fields: the member of a request, the id of the field, and how its text becomes a value. */
const PLAIN = [
  ["negative_prompt", "negative", String],
  ["num_inference_steps", "steps", Number],
  ["guidance_scale", "guidance", Number],
  ["width", "width", Number],
  ["height", "height", Number],
  ["seed", "seed", Number],
  ["num_images", "count", Number],
  ["scheduler", "scheduler", String],
  ["output_format", "format", String],
];

/** These members are what the page decides by itself. */
const OWN = ["preview_every", "preview_source", "metadata"];

/** A recipe writes every member out. These values are what a request without them means. */
const USUAL = { guidance_rescale: 0, clip_skip: 0, prompt_syntax: "plain", long_prompt: false };

const DRAFT = "glimpse-draft";

/** What a filled request has and no field shows: it is sent again until the person removes it. */
let others = {};

/** The request that the form says, or the fields that are not numbers. */
export function written() {
  const wrong = [];
  const request = { app: element("app").value, prompt: element("prompt").value.trim() };
  for (const [member, id, read] of PLAIN) {
    const field = element(id);
    const text = field.value.trim();
    if (field.validity.badInput || (read === Number && text !== "" && !Number.isFinite(Number(text)))) {
      wrong.push({ at: [member], text: "This should be a number." });
    } else if (text !== "" || member === "negative_prompt") {
      request[member] = read(text);
    }
  }
  const loras = chosenLoras();
  if (loras.length > 0) {
    request.loras = loras;
  }
  const input = inputMembers();
  return { request: { ...request, ...input.members, ...others }, wrong: [...wrong, ...input.wrong] };
}

/** Fills the form with a request. Fields that it does not name get their defaults. */
export function fill(request) {
  clearFields();
  const { app, prompt, loras = [], image, mask, strength, from, ...rest } = request;
  element("prompt").value = prompt ?? "";
  if ([...element("app").options].some((option) => option.value === app)) {
    element("app").value = app;
  }
  for (const [member, id] of PLAIN) {
    const field = element(id);
    const value = rest[member] ?? field.dataset.usual ?? "";
    field.tagName === "SELECT" ? choose(field, value) : (field.value = value);
    delete rest[member];
  }
  showShape();
  fillLoras(loras);
  // A recipe names an input picture by its digest alone.
  fillInput(typeof image === "string" ? { image, mask, strength } : {});
  OWN.forEach((member) => delete rest[member]);
  if (from !== undefined) {
    rest.from = from;
  }
  others = Object.fromEntries(Object.entries(rest).filter(
    ([member, value]) => value !== null && value !== undefined && value !== USUAL[member]));
  keepDraft();
}

/** Sets a list to a value, also if this server does not offer it: then the server says what is wrong. */
function choose(list, value) {
  if (value !== undefined && ![...list.options].some((option) => option.value === value)) {
    list.add(new Option(value, value));
  }
  list.value = value ?? list.options[0]?.value ?? "";
}

/** The members that no field shows. */
export function otherMembers() {
  return Object.entries(others);
}

export function removeOther(member) {
  delete others[member];
}

/** Says whether a size was typed. */
export function showShape() {
  element("shape").value = element("width").value === "" && element("height").value === "" ? "" : "typed";
}

/** Keeps what is typed, so that a reload does not lose it. */
export function keepDraft() {
  const draft = { app: element("app").value, prompt: element("prompt").value };
  PLAIN.forEach(([, id]) => (draft[id] = element(id).value));
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify(draft));
  } catch {
    // This browser keeps nothing.
  }
}

export function restoreDraft() {
  try {
    const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
    for (const [id, value] of Object.entries(draft)) {
      const field = element(id);
      field.tagName === "SELECT" ? choose(field, value || undefined) : (field.value = value);
    }
    showShape();
  } catch {
    // As above.
  }
}

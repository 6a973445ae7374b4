// What can be done with a finished picture: keep it, copy its request as a program, begin with it.

import { hasKey } from "/playground/key.js";
import { button, element, write } from "/playground/parts.js";
import { download, fileName, uriOf } from "/playground/pictures.js";
import { stop } from "/playground/refusal.js";
import { showPicture } from "/playground/show.js";
import { curl, javascript, python } from "/playground/snippets.js";

const LANGUAGES = [
  ["copy-curl", "curl", curl],
  ["copy-python", "Python", python],
  ["copy-javascript", "JavaScript", javascript],
];

/** The pictures of the job that is shown, and which of them. */
let pictures = [];
let shown = 0;

export function hideActions() {
  pictures = [];
  ["after", "others", "snippet-part"].forEach((id) => (element(id).hidden = true));
}

/** Shows the pictures of a job, and what can be done with each. */
export async function showPictures(records) {
  pictures = records;
  element("others").hidden = records.length < 2;
  element("others").replaceChildren(...(records.length < 2 ? [] : records.map(other)));
  await choose(0);
  element("after").hidden = false;
  element("reuse").disabled = false;
}

function factsOf({ seed, width, height, early, warnings = [] }) {
  const told = [`Seed ${seed}`, `${width} × ${height}`];
  if (early !== undefined) {
    told.push(`finished at step ${early + 1}`);
  }
  return [told.join(", "), ...warnings.map(({ message }) => message)].map(stop).join(" ");
}

function other(record, index) {
  const url = URL.createObjectURL(record.blob);
  const small = new Image();
  small.alt = `Number ${index + 1} of ${record.of}`;
  small.onload = () => URL.revokeObjectURL(url);
  small.src = url;
  const press = button("", () => choose(index), { className: "frame-button" });
  press.append(small);
  return press;
}

async function choose(index) {
  shown = index;
  const record = pictures[index];
  element("snippet-part").hidden = true;
  write(element("facts"), factsOf(record));
  const known = record.request !== null;
  LANGUAGES.forEach(([id]) => (element(id).disabled = !known));
  [...element("others").children].forEach((press, place) =>
    press.setAttribute("aria-pressed", String(place === index)));
  const src = await uriOf(record.blob);
  if (pictures[shown] === record) {
    showPicture({ ...record, src, prompt: record.request?.prompt });
  }
}

/** The picture that is shown, or null. */
export function shownPicture() {
  return pictures[shown] ?? null;
}

async function copy(name, program) {
  const record = pictures[shown];
  const text = program(record.from === null ? record.request : { ...record.request, from: step(record.from) },
    record.seed, hasKey());
  const place = element("snippet");
  place.textContent = text.length > 20_000 ? `${text.slice(0, 20_000)}\n…` : text;
  element("snippet-part").hidden = false;
  write(element("snippet-says"), (await toClipboard(text))
    ? `Copied for ${name}.`
    : `This browser does not let the page copy. Copy the text for ${name} from here.`);
}

function step({ job, recipe, step }) {
  return recipe === undefined ? { job, step } : { recipe, step };
}

/** Without https a page has no clipboard of its own, so the older way is tried too. */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "aside";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}

element("download").addEventListener("click", () => download(pictures[shown].blob, fileName(pictures[shown])));

for (const [id, name, program] of LANGUAGES) {
  element(id).addEventListener("click", () => copy(name, program));
}

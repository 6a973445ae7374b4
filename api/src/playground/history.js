// The history: the pictures of this browser, newest first.

import { compare } from "/playground/compare.js";
import { dropAllPictures, dropPicture, keepPicture, keptPictures } from "/playground/gallery.js";
import { button, element, make, write } from "/playground/parts.js";

const PAGE = 24;

let records = [];
let most = PAGE;
/** The object URL of each card that is shown. */
const urls = new Map();
/** The pictures that are chosen for a comparison: at most two. */
let chosen = [];
let hear = {};

/**
 * Calls `open(record)` when a picture is opened, `again(record)` for its settings, and `dropped()` after pictures were
 * deleted.
 */
export async function watchHistory(handlers) {
  hear = handlers;
  merge(await keptPictures());
}

/** Adds a picture. One that is there already stays where it is. */
export async function addToHistory(record) {
  if (!(await picturesOf(record.job)).some(({ id }) => id === record.id)) {
    merge([record]);
    await keepPicture(record);
  }
}

function merge(more) {
  const known = new Set(records.map(({ id }) => id));
  records = [...records, ...more.filter(({ id }) => !known.has(id))].sort((a, b) => b.at - a.at || a.index - b.index);
  show();
}

/** The pictures of a job. */
export async function picturesOf(job) {
  const all = records.length > 0 ? records : await keptPictures();
  return all.filter((record) => record.job === job).sort((a, b) => a.index - b.index);
}

function show() {
  const list = element("history");
  const shown = records.slice(0, most);
  const cards = new Map([...list.children].map((card) => [card.dataset.id, card]));
  list.replaceChildren(...shown.map((record) => cards.get(record.id) ?? card(record)));
  for (const [id, url] of urls) {
    if (!shown.some((record) => record.id === id)) {
      URL.revokeObjectURL(url);
      urls.delete(id);
    }
  }
  element("no-history").hidden = records.length > 0;
  element("more-history").hidden = records.length <= most;
  element("clear-history").hidden = records.length === 0;
  showChosen();
}

function card(record) {
  const url = URL.createObjectURL(record.blob);
  urls.set(record.id, url);
  const prompt = record.request?.prompt ?? "";
  const about = `about-${record.id}`;
  const picture = make("img", { src: url, alt: `Made earlier: ${prompt || "no prompt known"}`, loading: "lazy" });
  const open = button("", () => hear.open(record), { className: "open" });
  open.append(picture);
  const again = button("Same settings again", () => hear.again(record), { disabled: !record.request });
  const pick = button("Compare", () => toggle(record), { className: "quiet pick" });
  pick.setAttribute("aria-pressed", "false");
  const drop = button("Delete", () => remove(record), { className: "quiet" });
  [again, pick, drop].forEach((press) => press.setAttribute("aria-describedby", about));
  const many = record.of > 1 ? `, ${record.index + 1} of ${record.of}` : "";
  const facts = `Seed ${record.seed}${many}, ${record.width} × ${record.height}`;
  const made = make("li", { className: "card" }, open,
    make("p", { id: about, className: "about", textContent: prompt || "Prompt not known", title: prompt }),
    make("p", { className: "facts", textContent: facts }),
    make("div", { className: "row" }, again, pick, drop));
  made.dataset.id = record.id;
  return made;
}

async function remove(record) {
  const place = records.indexOf(record);
  records = records.filter((other) => other !== record);
  chosen = chosen.filter((other) => other !== record);
  show();
  const next = element("history").children[Math.min(place, element("history").children.length - 1)];
  (next?.querySelector("button") ?? element("prompt")).focus();
  await dropPicture(record.id);
  hear.dropped();
}

function toggle(record) {
  chosen = chosen.includes(record) ? chosen.filter((other) => other !== record) : [...chosen, record].slice(-2);
  showChosen();
  if (chosen.length === 2) {
    compare(...chosen);
    chosen = [];
    showChosen();
  }
}

function showChosen() {
  for (const made of element("history").children) {
    const pressed = chosen.some(({ id }) => id === made.dataset.id);
    made.querySelector(".pick").setAttribute("aria-pressed", String(pressed));
  }
  write(element("chosen"), chosen.length === 1 ? "Choose a second one to compare with." : "");
}

element("more-history").addEventListener("click", () => {
  most += PAGE;
  show();
});

element("clear-history").addEventListener("click", async () => {
  if (confirm("Delete all pictures of the history from this browser?")) {
    records = [];
    chosen = [];
    show();
    element("prompt").focus();
    await dropAllPictures();
    hear.dropped();
  }
});

// Which apps there are, and what the chosen one offers.

import { ask, keyNews } from "/playground/key.js";
import { offerInput } from "/playground/input.js";
import { offerLoras } from "/playground/loras.js";
import { element } from "/playground/parts.js";

/** How often the list is asked for: while no app is served, and otherwise. */
const SOON = 2_000;
const LATER = 15_000;

/** Says `apps` after each answer, with the apps, or with null and the status if there was none. */
export const appNews = new EventTarget();

let apps = [];
let timer;
let heard;
/** Resolves after the first answer. */
export const firstApps = new Promise((resolve) => (heard = resolve));

/** The offer of the app that is chosen. */
export function chosenApp() {
  return apps.find((one) => one.app === element("app").value) ?? null;
}

async function round() {
  clearTimeout(timer);
  const answer = await ask("/v1/apps").catch(() => null);
  const body = answer?.ok ? await answer.json().catch(() => null) : null;
  if (body !== null) {
    apps = body.apps.filter((one) => one.workers > 0);
    list();
  }
  heard();
  appNews.dispatchEvent(new CustomEvent("apps", { detail: { apps: body?.apps ?? null, status: answer?.status ?? 0 } }));
  const wait = Number(answer?.headers.get("retry-after")) * 1000;
  if (answer?.status !== 401) {
    timer = setTimeout(again, wait || (apps.length === 0 || body === null ? SOON : LATER));
  }
}

/** A page that nobody sees asks nothing. */
function again() {
  if (!document.hidden) {
    round();
  }
}

function list() {
  const chosen = element("app");
  const names = apps.map((one) => one.app);
  const before = chosen.value;
  if (names.join("\n") !== [...chosen.options].map((option) => option.value).join("\n")) {
    chosen.replaceChildren(...names.map((name) => new Option(name)));
    chosen.value = names.includes(before) ? before : (names[0] ?? "");
  }
  element("app-field").hidden = names.length < 2;
  offer();
}

/** Shows what the chosen app offers. */
function offer() {
  const app = chosenApp();
  if (app === null) {
    return;
  }
  element("width").placeholder = String(app.native_width);
  element("height").placeholder = String(app.native_height);
  const list = element("scheduler");
  const before = list.value;
  const known = [...list.options].slice(1).map((option) => option.value);
  if (known.join("\n") !== app.schedulers.join("\n")) {
    const named = app.schedulers.map((name) => new Option(name.replace(/Scheduler$/, ""), name));
    list.replaceChildren(new Option("The model’s own", ""), ...named);
    if (before !== "" && !app.schedulers.includes(before)) {
      list.add(new Option(before, before));
    }
    list.value = before;
  }
  offerLoras(app.loras);
  offerInput(app.features);
}

/** The sides of a picture of this shape (width by height), about as large as the model's own. */
export function sidesOf(shape) {
  const app = chosenApp();
  const area = app === null ? 1024 * 1024 : app.native_width * app.native_height;
  const width = Math.sqrt(area * shape);
  return [width, width / shape].map((side) => Math.min(2048, Math.max(64, Math.round(side / 8) * 8)));
}

/** Asks again now. */
export function refreshApps() {
  round();
}

export function watchApps() {
  element("app").addEventListener("change", offer);
  keyNews.addEventListener("given", round);
  document.addEventListener("visibilitychange", again);
  addEventListener("online", round);
  round();
}

// The fleet: its apps and workers, how many jobs wait, and how fast they are made.

import { appNews } from "/playground/apps.js";
import { ask, keyNews } from "/playground/key.js";
import { element, make, time, write } from "/playground/parts.js";

const EVERY = 15_000;
/** The span over which jobs are counted. */
const SPAN = 5 * 60_000;

/** Counts of completed jobs: when, and how many. */
let counts = [];
let timer;
let seen = false;
/** Whether this key may not see the workers. */
let refused = false;

function rows(place, entries, columns) {
  place.replaceChildren(...entries.map((entry) =>
    make("tr", {}, ...columns(entry).map((cell, index) =>
      make(index === 0 ? "th" : "td", index === 0 ? { scope: "row", textContent: cell } : { textContent: cell })))));
}

function showApps({ apps, status }) {
  const known = apps !== null;
  write(element("apps-say"), known
    ? (apps.length === 0 ? "No worker serves an app." : "")
    : status === 0 ? "The server does not answer." : `The server does not list its apps (status ${status}).`);
  element("apps-part").hidden = !known || apps.length === 0;
  rows(element("app-rows"), apps ?? [], (one) => [
    one.app,
    String(one.workers),
    String(one.waiting),
    one.expected_wait === undefined ? "not known" : one.expected_wait < 0.1 ? "none" : time(one.expected_wait),
    `${one.native_width} × ${one.native_height}`,
  ]);
}

async function showWorkers() {
  if (refused) {
    return null;
  }
  const answer = await ask("/v1/workers").catch(() => null);
  const body = answer?.ok ? await answer.json().catch(() => null) : null;
  refused = answer?.status === 403;
  const workers = body?.workers ?? [];
  element("workers-part").hidden = workers.length === 0;
  write(element("workers-say"), body !== null
    ? (workers.length === 0 ? "No worker is alive." : "")
    : answer?.status === 403 ? "Only operators see the workers."
    : answer?.status === 401 ? "The workers are shown to a key."
    : "The workers cannot be listed now.");
  rows(element("worker-rows"), workers, (one) => [
    one.id,
    one.app,
    one.device,
    one.progress === undefined ? one.state : `${one.state}, step ${one.progress.step} of ${one.progress.steps}`,
    one.version,
  ]);
  return answer;
}

/** The sum of a metric, or null if this process does not have it. */
function sum(text, name, label = "") {
  const lines = text.split("\n").filter((line) => line.startsWith(name) && line.includes(label));
  return lines.length === 0 ? null : lines.reduce((all, line) => all + Number(line.slice(line.lastIndexOf(" "))), 0);
}

async function showRates() {
  const answer = await ask("/metrics").catch(() => null);
  const text = answer?.ok ? await answer.text().catch(() => "") : "";
  const overhead = sum(text, "glimpse_preview_overhead_ratio ");
  if (overhead === null) {
    // The workers are other processes, and count their jobs themselves.
    const elsewhere = text === "" ? "not known" : "in the workers’ metrics";
    write(element("rate"), elsewhere);
    write(element("overhead"), elsewhere);
    return;
  }
  const now = Date.now();
  const done = sum(text, "glimpse_jobs_total{", 'outcome="completed"') ?? 0;
  counts = [...counts.filter(({ at, jobs }) => now - at < SPAN && jobs <= done), { at: now, jobs: done }];
  const [first] = counts;
  write(element("rate"), now === first.at
    ? `counting (${done} since the start)`
    : `${(((done - first.jobs) * 60_000) / (now - first.at)).toFixed(1)} (${done} since the start)`);
  write(element("overhead"), `${(overhead * 100).toFixed(1)} %`);
}

async function round() {
  clearTimeout(timer);
  if (document.hidden || !seen) {
    return;
  }
  const [answer] = await Promise.all([showWorkers(), showRates()]);
  const wait = Number(answer?.headers.get("retry-after")) * 1000;
  timer = setTimeout(round, Math.max(wait, EVERY));
}

/** Asks only while the fleet can be seen. */
export function watchFleet() {
  appNews.addEventListener("apps", ({ detail }) => {
    showApps(detail);
    write(element("waiting"), detail.apps === null ? "not known"
      : String(detail.apps.reduce((all, { waiting }) => all + waiting, 0)));
  });
  keyNews.addEventListener("given", () => (refused = false));
  document.addEventListener("visibilitychange", round);
  new IntersectionObserver(([{ isIntersecting }]) => {
    seen = isIntersecting;
    round();
  }).observe(element("fleet"));
}

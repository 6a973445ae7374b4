// The page: one job at a time, by the API's own wire. The job's id stands in the address, so that a reload
// finds the picture again; the stream of events resumes by itself where a connection was lost.

import { ask, eventsOf, key } from "/playground/keyed.js";

const element = (id) => document.getElementById(id);
const { prompt, error, apps, app, make, cancel, status, progress, step, time, frame, picture, empty, strip, after,
        save, seed, warnings, hint, keys, keyInput } =
  Object.fromEntries(
    ["prompt", "error", "apps", "app", "make", "cancel", "status", "progress", "step", "time", "frame", "picture",
     "empty", "strip", "after", "save", "seed", "warnings", "hint", "keys", "keyInput"].map((id) => [id, element(id)]));

/** The job that is shown: its id, its events, when it was asked for. */
let shown = null;
/** Whether some worker takes jobs. */
let served = false;

// ---- which models there are

async function listApps() {
  let names = [];
  try {
    const answer = await ask("/v1/apps");
    // This server has keys: nothing works without one.
    keys.hidden = answer.status !== 401 && answer.status !== 403;
    if (answer.ok) {
      const { apps: offered } = await answer.json();
      names = offered.filter((one) => one.workers > 0).map((one) => one.app);
    }
  } catch {
    // The server is away: nothing is served, and the next round asks again.
  }
  if (names.join() !== [...app.options].map((option) => option.value).join()) {
    const chosen = app.value;
    app.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }
  apps.hidden = names.length < 2;
  served = names.length > 0;
  make.disabled = !served || shown !== null;
  if (!keys.hidden) {
    say(key.get() === "" ? "This server wants a key." : "This is not a key of this server, or not one for pictures.");
  } else if (shown === null && !served) {
    say("No worker serves a model yet. This page waits for one.");
  } else if (shown === null && /^(No worker|This)/.test(status.textContent)) {
    say("");
  }
  setTimeout(listApps, served ? 10_000 : 2_000);
}

// ---- what is said

function say(text) {
  if (status.textContent !== text) {
    status.textContent = text;
  }
}

function complain(text) {
  error.textContent = text;
  error.hidden = text === "";
  prompt.setAttribute("aria-invalid", String(text !== ""));
}

/** An error answer of the API in one sentence. */
async function reasonOf(answer) {
  let detail;
  try {
    ({ detail } = await answer.json());
  } catch {
    return `The server answered ${answer.status}.`;
  }
  if (!Array.isArray(detail)) {
    return String(detail);
  }
  const one = ({ loc, type, msg }) => {
    const field = loc.at(-1);
    if (field === "prompt" && (type === "missing" || type === "string_too_short")) {
      return "Say what you want to see.";
    }
    return `${field}: ${msg}.`;
  };
  return detail.map(one).join(" ");
}

// ---- a job, from the button to its end

async function submit() {
  if (shown !== null || !served) {
    return;
  }
  complain("");
  reset();
  begin(null, Date.now());
  say("Sending");
  try {
    const answer = await ask("/v1/jobs", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ app: app.value, prompt: prompt.value.trim() }),
    });
    if (!answer.ok) {
      end("");
      reset();
      complain(await reasonOf(answer));
      prompt.focus();
      return;
    }
    const job = await answer.json();
    picture.alt = prompt.value.trim();
    history.replaceState(null, "", `#${job.id}`);
    follow(job.id);
  } catch {
    end("");
    reset();
    complain("The server does not answer.");
  }
}

/** Shows a job that was asked for before the page was loaded. */
async function reopen(id) {
  const answer = await ask(`/v1/jobs/${encodeURIComponent(id)}`).catch(() => null);
  if (!answer?.ok) {
    history.replaceState(null, "", location.pathname);
    return;
  }
  const job = await answer.json();
  picture.alt = "The picture of this job";
  begin(id, Date.parse(job.created_at));
  if (job.finished_at) {
    shown.since = null;
  }
  follow(id);
}

function begin(id, since) {
  shown = { id, since, source: null };
  make.disabled = true;
  make.hidden = true;
  hint.hidden = true;
  cancel.hidden = false;
  cancel.disabled = id === null;
  frame.classList.add("forming");
  requestAnimationFrame(tick);
}

function reset() {
  picture.hidden = true;
  picture.removeAttribute("src");
  empty.hidden = false;
  strip.hidden = true;
  strip.replaceChildren();
  after.hidden = true;
  warnings.textContent = "";
  progress.hidden = true;
  step.textContent = "";
  time.textContent = "";
}

function end(text) {
  shown?.source?.close();
  shown = null;
  make.hidden = false;
  make.disabled = !served;
  hint.hidden = false;
  cancel.hidden = true;
  frame.classList.remove("forming");
  say(text);
}

function tick() {
  if (shown?.since) {
    time.textContent = seconds(Date.now() - shown.since);
    requestAnimationFrame(tick);
  }
}

function seconds(milliseconds) {
  return `${(Math.max(milliseconds, 0) / 1000).toFixed(1)} s`;
}

function follow(id) {
  const source = eventsOf(`/v1/jobs/${id}/events`);
  shown.id = id;
  shown.source = source;
  cancel.disabled = false;
  const on = (kind, show) => source.addEventListener(kind, (event) => show(JSON.parse(event.data)));

  on("queued", ({ position }) => {
    say(position === 0 ? "Next in the queue" : `In the queue, ${position} before this one`);
  });
  on("started", ({ attempt }) => {
    say(attempt === 1 ? "A worker is on it" : `A worker is on it (attempt ${attempt})`);
    strip.replaceChildren();
  });
  on("preview", showPreview);
  on("completed", showResult);
  on("failed", ({ message }) => {
    end("");
    complain(`It failed: ${message}.`);
  });
  on("cancelled", () => end("Cancelled"));
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) {
      end("");
      complain("The server no longer knows this job.");
    } else {
      say("The connection is lost, trying again");
    }
  };
}

function showPreview({ step: done, steps, image }) {
  show(image);
  say("Denoising");
  progress.hidden = false;
  progress.max = steps;
  progress.value = done + 1;
  step.textContent = `Step ${done + 1} of ${steps}`;
  const small = new Image();
  small.src = image.url;
  small.alt = `After step ${done + 1}`;
  const place = document.createElement("li");
  place.append(small, String(done + 1));
  strip.append(place);
  strip.hidden = false;
  place.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function showResult({ images, seed: number, timings, warnings: said = [] }) {
  const took = shown.since ? Date.now() - shown.since : null;
  show(images[0]);
  progress.value = progress.max;
  step.textContent = progress.hidden ? "" : `${progress.max} steps`;
  time.textContent = seconds(took ?? (timings.inference + timings.decode) * 1000);
  seed.textContent = `Seed ${number}`;
  warnings.textContent = said.map(({ message }) => message).join("\n");
  save.href = images[0].url;
  save.download = `glimpse-${number}.${images[0].content_type.split("/")[1].replace("jpeg", "jpg")}`;
  after.hidden = false;
  end("Done");
}

function show({ url }) {
  picture.src = url;
  picture.hidden = false;
  empty.hidden = true;
}

// ---- what people do

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});

prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});

keyInput.value = key.get();
keyInput.addEventListener("change", () => key.set(keyInput.value));

prompt.addEventListener("input", () => complain(""));

cancel.addEventListener("click", async () => {
  cancel.disabled = true;
  say("Cancelling");
  const answer = await ask(`/v1/jobs/${shown.id}`, { method: "DELETE" }).catch(() => null);
  if (!answer?.ok && shown !== null) {
    cancel.disabled = false;
    complain(answer === null ? "The server does not answer." : await reasonOf(answer));
  }
});

listApps();
if (location.hash.length > 1) {
  reopen(location.hash.slice(1));
}

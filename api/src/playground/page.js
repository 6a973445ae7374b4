// The page: ties what a person does to the job, and what the job tells to what is shown.

import { hideActions, shownPicture, showPictures } from "/playground/actions.js";
import { appNews, chosenApp, firstApps, sidesOf, watchApps } from "/playground/apps.js";
import { branched, goOnFrom, kept, showChips } from "/playground/branch.js";
import { hideNotice, recipeOf, watchDrops } from "/playground/drop.js";
import { clearFields, showFields } from "/playground/fields.js";
import { watchFleet } from "/playground/fleet.js";
import { fill, keepDraft, restoreDraft, written } from "/playground/form.js";
import { keepRequest, keptRequest } from "/playground/gallery.js";
import { addToHistory, picturesOf, watchHistory } from "/playground/history.js";
import { idInAddress, Job, nameInAddress } from "/playground/job.js";
import { watchKeys } from "/playground/keys.js";
import { element, time, write } from "/playground/parts.js";
import { bytesOf } from "/playground/pictures.js";
import { fullBar, hideProgress, say, secondsSince, startAttempt, startClock, stepDone, stopClock } from "/playground/progress.js";
import { stop } from "/playground/refusal.js";
import { showForming, showNothing, showPreview, showUnfinished } from "/playground/show.js";
import { addPreview, clearStrip, leaveStrip, watchStrip } from "/playground/strip.js";

const OFFLINE = "Offline. This page keeps trying, and goes on when it is no longer offline.";

/** The job that is shown, its request (null if this browser did not send it), and what that goes on from. */
let job = null;
let about = { request: null, from: null };
/** What was last said that is not about the connection. */
let said = "";
/** The last request without an answer: sent again as it is, it makes no second job. */
let unanswered = { text: "", once: "" };

function tell(text) {
  said = text;
  say(text);
}

function complain(text) {
  write(element("failure"), text);
  element("failure").hidden = text === "";
}

// ---- from the button to the end

function random() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function generate() {
  if (job?.runs) {
    return;
  }
  complain("");
  clearFields();
  await firstApps;
  const { request, wrong } = written();
  if (request.prompt === "") {
    wrong.unshift({ at: ["prompt"], text: "Say what you want to see." });
  }
  if (wrong.length > 0) {
    refuse({ fields: wrong, text: "" });
    return;
  }
  if (request.app === "") {
    complain("No worker serves a model now. Try again when one does.");
    return;
  }
  const steps = request.num_inference_steps ?? 20;
  request.preview_every = Math.min(50, Math.max(1, Math.ceil(steps / 10))) || 1;
  const sent = branched(request);
  const text = JSON.stringify(sent);
  unanswered = unanswered.text === text ? unanswered : { text, once: random() };
  about = kept(request);
  begin();
  element("cancel").disabled = true;
  job.submit(sent, unanswered.once);
}

/** Shows a job that was asked for before the page was loaded. */
async function reopen(id) {
  const known = await keptRequest(id);
  about = { request: known?.request ?? null, from: known?.from ?? null };
  begin();
  tell("Finding the picture again.");
  job.follow(id);
}

function begin() {
  job = new Job();
  hear(job);
  hideActions();
  hideNotice();
  clearStrip();
  const { width, height } = about.request ?? {};
  const native = chosenApp();
  showNothing(width ?? native?.native_width, height ?? native?.native_height);
  showForming(true);
  startClock();
  const focused = document.activeElement === element("generate");
  element("generate").disabled = true;
  element("cancel").disabled = false;
  element("finish").disabled = true;
  if (focused) {
    element("status").focus();
  }
}

function end(text, left) {
  const focused = [element("cancel"), element("finish")].includes(document.activeElement)
    || document.activeElement === element("status");
  element("generate").disabled = false;
  element("cancel").disabled = true;
  element("finish").disabled = true;
  showForming(false);
  stopClock(left, secondsSince());
  tell(text);
  if (focused) {
    element("generate").focus({ preventScroll: true });
  }
}

function refuse({ fields, text }) {
  const rest = showFields(fields);
  complain([text, ...rest].filter((one) => one !== "").join(" "));
  tell(fields.length === 0 ? "Nothing was made." : "Nothing was made: look at what is marked in the form.");
}

// ---- what a job tells

function hear(mine) {
  let steps = 0;
  let done = 0;
  const on = (kind, show) => mine.addEventListener(kind, ({ detail }) => mine === job && show(detail));
  const where = () => (steps === 0 ? "" : `At step ${done} of ${steps}`);
  on("sending", () => tell("Sending."));
  on("sent", async ({ id }) => {
    unanswered = { text: "", once: "" };
    element("cancel").disabled = false;
    tell("Sent. Waiting for a worker.");
    goOnFrom(null);
    await keepRequest({ id, at: Date.now(), ...about });
  });
  on("refused", (refusal) => {
    end("", "");
    hideProgress();
    nameInAddress(null);
    refuse(refusal);
  });
  on("queued", ({ position }) => tell(queued(position)));
  on("started", ({ attempt }) => {
    startAttempt();
    tell(attempt === 1 ? "A worker makes the picture." : `Another worker makes the picture (attempt ${attempt}).`);
  });
  on("preview", ({ step, steps: all, image }) => {
    [done, steps] = [step + 1, all];
    leaveStrip();
    showPreview(image, done, steps, about.request?.prompt);
    addPreview(step, steps, image);
    stepDone(done, steps);
    element("finish").disabled = false;
    tell(done === steps ? "The last step is made. Decoding the picture." : "The picture forms.");
  });
  on("completed", (result) => completed(mine.id, result));
  on("failed", ({ message }) => {
    end("Failed.", where());
    showUnfinished(about.request?.prompt);
    complain(`The picture failed: ${stop(message)}`);
  });
  on("cancelled", ({ by }) => {
    const who = by === "operator" ? "an operator cancelled it" : by === "disconnect" ? "its client went away" : "you cancelled it";
    end(`Cancelled: this picture was cancelled, because ${who}.`, where());
    showUnfinished(about.request?.prompt);
  });
  on("unknown", async ({ text }) => {
    const pictures = await picturesOf(mine.id);
    end("", "");
    hideProgress();
    if (pictures.length > 0) {
      await open(pictures[0]);
    } else {
      nameInAddress(null);
      showUnfinished(about.request?.prompt);
      tell("This picture is gone.");
      complain(`${text} It may have ended long ago, or the server was started again. Press Generate to make it again.`);
    }
  });
  on("lost", () => say(OFFLINE));
  on("found", () => say(said));
  on("asked", ({ to }) => {
    complain("");
    element(to).disabled = true;
    tell(to === "cancel" ? "Cancelling." : "Finishing: the picture as it is now is decoded.");
  });
  on("unasked", ({ to, text }) => {
    element(to).disabled = false;
    tell("The picture forms.");
    complain(text);
  });
}

function queued(position) {
  const app = chosenApp();
  const place = position === 0 ? "next" : `${position} before this one`;
  if (app?.expected_wait === undefined) {
    return `Queued: ${place}.`;
  }
  const wait = (app.expected_wait * (position + 1)) / (app.waiting + 1);
  return `Queued: ${place}. It begins in about ${time(Math.max(wait, 1))}.`;
}

async function completed(id, { images, seed, seeds, timings, warnings = [], finished_at_step: early }) {
  const at = Date.now();
  try {
    const blobs = await Promise.all(images.map((image, index) => bytesOf(id, image, index)));
    const request = about.request ?? (await recipeOf(blobs[0])).request ?? null;
    const complete = request && { ...request, ...(seeds === undefined ? { seed } : {}) };
    about = { ...about, request: complete };
    const records = images.map(({ width, height }, index) => ({
      id: `${id}-${index}`, job: id, index, of: images.length, at, app: complete?.app, request: complete,
      from: about.from, seed: seeds?.[index] ?? seed, blob: blobs[index], width, height,
    }));
    leaveStrip();
    await showPictures(records, 0, facts(records[0], early, warnings));
    records.forEach(addToHistory);
    fullBar();
    element("reuse").disabled = false;
    const took = timings === undefined ? "" : ` in ${time(timings.inference + timings.decode)}`;
    end(`Done${took}.`, early === undefined ? "" : `Finished early, at step ${early + 1}`);
  } catch (error) {
    end("Done, but the picture cannot be shown.", "");
    complain(`The picture cannot be read: ${stop(error.message)} Load this page again to try it again.`);
  }
}

function facts({ seed, width, height }, early, warnings) {
  const told = [`Seed ${seed}`, `${width} × ${height}`];
  if (early !== undefined) {
    told.push(`finished at step ${early + 1}`);
  }
  return [told.join(", "), ...warnings.map(({ message }) => message)].map(stop).join(" ");
}

// ---- the history and recipes

async function open(record) {
  if (job?.runs) {
    complain("A picture is being made. Open another one when it is done, or cancel it.");
    return;
  }
  job = null;
  complain("");
  clearStrip();
  hideProgress();
  about = { request: record.request, from: record.from };
  await showPictures([record], 0, facts(record, undefined, []));
  element("reuse").disabled = false;
  tell("A picture of the history.");
  element("frame").scrollIntoView({ block: "nearest" });
}

/** Fills the form with the settings of a picture. A job is forgotten soon, so a branch goes on by its recipe. */
async function again(record) {
  const recipe = record.from === null ? {} : await recipeOf(record.blob);
  fill(recipe.request ?? record.request);
  goOnFrom(recipe.request === undefined ? record.from : null);
  complain("");
  tell("The form has the settings of this picture. Generate makes it again.");
  element("prompt").scrollIntoView({ block: "center" });
  element("generate").focus({ preventScroll: true });
}

// ---- what people do

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});

element("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    generate();
  }
});

element("form").addEventListener("input", keepDraft);
element("form").addEventListener("change", keepDraft);
element("cancel").addEventListener("click", () => job?.runs && job.cancel());
element("finish").addEventListener("click", () => job?.runs && job.finish());

element("random").addEventListener("click", () => {
  element("seed").value = "";
  keepDraft();
  element("seed").focus();
});

element("reuse").addEventListener("click", () => {
  element("seed").value = shownPicture()?.seed ?? element("seed").value;
  keepDraft();
  element("seed").focus();
});

element("shape").addEventListener("change", ({ target }) => {
  const sides = target.value === "" ? ["", ""] : sidesOf(Number(target.value));
  [element("width").value, element("height").value] = sides;
  keepDraft();
});

watchStrip((step, steps) => {
  const base = about.request ?? written().request;
  goOnFrom({ job: job.id, step, steps, base });
  tell(`The next picture goes on from step ${step + 1}. Change the prompt if you like, then press Generate.`);
  element("prompt").focus();
});

const usedRecipe = (request) => {
  fill(request);
  goOnFrom(null);
};
watchDrops(usedRecipe, () => element("input-part").scrollIntoView({ block: "nearest" }));

// ---- the connection, when no job tells of it

appNews.addEventListener("apps", ({ detail: { apps, status } }) => {
  if (job?.runs) {
    return;
  }
  if (status === 0) {
    say(OFFLINE);
  } else if (status === 401) {
    say("This server wants a key.");
  } else if (apps !== null && apps.length === 0) {
    say("No worker serves a model yet. This page waits for one.");
  } else {
    said = said === "" ? "Ready." : said;
    say(said);
  }
});

addEventListener("offline", () => say(OFFLINE));
addEventListener("online", () => say(said));

restoreDraft();
showChips();
watchKeys();
watchApps();
watchFleet();
watchHistory({ open, again });
const begun = idInAddress();
if (begun !== null) {
  reopen(begun);
}

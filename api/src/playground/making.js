// Making a picture: from the button to the job, and from what the job tells to what is shown.

import { hideActions, showPictures } from "/playground/actions.js";
import { chosenApp, firstApps } from "/playground/apps.js";
import { branched, forgettable, goOnByRecipe, goOnFrom, kept } from "/playground/branch.js";
import { hideNotice, recipeOf } from "/playground/drop.js";
import { clearFields, showFields } from "/playground/fields.js";
import { written } from "/playground/form.js";
import { keepRequest, keptRequest } from "/playground/gallery.js";
import { addToHistory, picturesOf } from "/playground/history.js";
import { fillInput } from "/playground/input.js";
import { Job, nameInAddress } from "/playground/job.js";
import { askForKey } from "/playground/keys.js";
import { disable, element } from "/playground/parts.js";
import { bytesOf } from "/playground/pictures.js";
import { fullBar, hideProgress, startAttempt, startClock, stepDone, stopClock } from "/playground/progress.js";
import { waits, waitsNoMore } from "/playground/queue.js";
import { stop } from "/playground/refusal.js";
import { complain, tell, tellAgain, tellOffline } from "/playground/says.js";
import { cover, showForming, showNothing, showPreview, showUnfinished, uncover } from "/playground/show.js";
import { addPreview, clearStrip, leaveStrip, settleStrip } from "/playground/strip.js";

/** The job that is shown, its request (null if this browser did not send it), and what that goes on from. */
let job = null;
let about = { request: null, from: null };
/** The last request without an answer: sent again as it is, it makes no second job. */
let unanswered = { text: "", once: "" };

/** Whether a picture is being made. */
export function busy() {
  return job?.runs ?? false;
}

/** The job that is shown and its request. */
export function shownJob() {
  return { id: job?.id ?? null, request: about.request };
}

/** A text that nobody guesses. */
function random() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Sends the request of the form, unless a picture is being made. */
export async function generate() {
  if (busy()) {
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
    complain(askForKey() ? "This server wants a key first." : "No worker serves a model now. Try again when one does.");
    return;
  }
  const steps = request.num_inference_steps ?? 20;
  request.preview_every = Math.min(50, Math.max(1, Math.ceil(steps / 10))) || 1;
  const sent = branched(request);
  const text = JSON.stringify(sent);
  unanswered = unanswered.text === text ? unanswered : { text, once: random() };
  const before = about;
  about = kept(request);
  begin();
  cover();
  job.addEventListener("refused", () => (about = before));
  job.submit(sent, unanswered.once);
}

/** Shows a job that was asked for before the page was loaded. */
export async function reopen(id) {
  const known = await keptRequest(id);
  about = { request: known?.request ?? null, from: known?.from ?? null };
  if (known?.request?.image !== undefined) {
    fillInput(known.request);
  }
  begin();
  prepare(false);
  tell("Finding the picture again.");
  job.follow(id);
}

export function cancel() {
  if (busy()) {
    job.cancel();
  }
}

/** Asks for the picture as it is now. */
export function finish() {
  if (busy()) {
    job.finish();
  }
}

/** The form while a picture is made. Whoever pressed Generate is led to what goes on. */
function begin() {
  job = new Job();
  hear(job);
  hideNotice();
  disable(element("generate"), element("status"));
}

/** An empty place for the picture that is to come. */
function prepare(fresh) {
  hideActions();
  clearStrip(true);
  const { width, height } = about.request ?? {};
  const native = chosenApp();
  showNothing(width ?? native?.native_width, height ?? native?.native_height);
  showForming(true);
  startClock(fresh);
  element("cancel").disabled = false;
  if (document.activeElement === element("status")) {
    element("cancel").focus({ preventScroll: true });
  }
}

function end(text, left) {
  waitsNoMore();
  element("generate").disabled = false;
  disable(element("cancel"), element("status"));
  disable(element("finish"), element("status"));
  showForming(false);
  settleStrip();
  stopClock(left);
  tell(text);
  if (document.activeElement === element("status")) {
    element("generate").focus({ preventScroll: true });
  }
}

function refuse({ fields, text }) {
  const rest = showFields(fields);
  complain([text, ...rest].filter((one) => one !== "").join(" "));
  tell(fields.length === rest.length ? "Nothing was made." : "Nothing was made: look at what is marked in the form.");
}

/** Shows what a job tells. */
function hear(mine) {
  let steps = 0;
  let done = 0;
  const on = (kind, show) => mine.addEventListener(kind, ({ detail }) => mine === job && show(detail));
  const where = () => (steps === 0 ? "" : `At step ${done} of ${steps}`);
  on("sending", () => tell("Sending."));
  on("sent", ({ id }) => {
    unanswered = { text: "", once: "" };
    uncover();
    prepare(true);
    goOnFrom(null);
    tell("Sent. Waiting for a worker.");
    keepRequest({ id, at: Date.now(), ...about });
  });
  on("refused", async (refusal) => {
    element("generate").disabled = false;
    uncover();
    if (refusal.status === 404 && (await remembered())) {
      generate();
    } else {
      refuse(refusal);
    }
  });
  on("queued", ({ position }) => waits(position));
  on("started", ({ attempt }) => {
    waitsNoMore();
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
  on("completed", (result) => completed(mine, result));
  on("failed", ({ message }) => {
    end("Failed.", where());
    showUnfinished(about.request?.prompt);
    complain(`The picture failed: ${stop(message)}`);
  });
  on("cancelled", ({ by }) => {
    end(by === "client" ? "Cancelled. You cancelled this picture." : `Cancelled. ${WHO[by] ?? "The server"} cancelled this picture.`, where());
    showUnfinished(about.request?.prompt);
  });
  on("unknown", ({ text }) => gone(mine.id, text));
  on("lost", tellOffline);
  on("found", () => tellAgain());
  on("asked", ({ to }) => {
    complain("");
    disable(element(to), element("status"));
    tell(to === "cancel" ? "Cancelling." : "Finishing: the picture as it is now is decoded.");
  });
  on("unasked", ({ to, text }) => {
    element(to).disabled = false;
    tell("The picture forms.");
    complain(text);
  });
}

/** A job to go on from is forgotten soon. Its picture, if it is in the history, may have the recipe. */
async function remembered() {
  const forgotten = forgettable();
  const [picture] = forgotten === null ? [] : await picturesOf(forgotten);
  const { recipe } = picture === undefined ? {} : await recipeOf(picture.blob);
  if (recipe !== undefined) {
    goOnByRecipe(recipe);
  }
  return recipe !== undefined;
}

const WHO = { operator: "An operator", disconnect: "The end of its connection" };

/** The server no longer knows a job: its pictures may be in the history. */
async function gone(id, text) {
  const pictures = await picturesOf(id);
  end("", "");
  hideProgress();
  clearStrip();
  if (pictures.length > 0) {
    await showKept(pictures);
    return;
  }
  nameInAddress(null);
  showUnfinished(about.request?.prompt);
  tell("This picture is gone.");
  complain(`${text} It may have ended long ago, or the server was started again. Press Generate to make it again.`);
}

async function completed({ id }, { images, seed, seeds, warnings = [], finished_at_step: early }) {
  const at = Date.now();
  try {
    const blobs = await Promise.all(images.map((image, index) => bytesOf(id, image, index)));
    const request = about.request ?? (await recipeOf(blobs[0])).request ?? null;
    const complete = request && {
      ...request,
      ...(seeds === undefined ? { seed } : {}),
      ...(early === undefined ? {} : { finish_at_step: early }),
    };
    about = { ...about, request: complete };
    const records = images.map(({ width, height }, index) => ({
      id: `${id}-${index}`, job: id, index, of: images.length, at, app: complete?.app, request: complete,
      from: about.from, seed: seeds?.[index] ?? seed, early, warnings, blob: blobs[index], width, height,
    }));
    leaveStrip();
    await showPictures(records);
    records.forEach(addToHistory);
    end(early === undefined ? "Done." : "Done, finished early.", fullBar(early === undefined ? undefined : early + 1));
  } catch (error) {
    end("Done, but the picture cannot be shown.", "");
    complain(`The picture cannot be read: ${stop(error.message)} Load this page again to try it again.`);
  }
}

/** Shows pictures of the history in the place of the job. */
export async function showKept(records) {
  if (busy()) {
    complain("A picture is being made. Open another one when it is done, or cancel it.");
    return;
  }
  job = null;
  about = { request: records[0].request, from: records[0].from };
  complain("");
  clearStrip();
  hideProgress();
  await showPictures(records);
  tell("A picture of the history.");
}

// How far a job is: the progress bar, and the time that is left.

import { element, time, write } from "/playground/parts.js";

/** When the job was asked for, or null: then no clock runs. */
let since = null;
/** The first and the newest preview of this attempt: step and time. */
let first = null;
let newest = null;
let steps = 0;
let timer;

/** Begins a job. When it was asked for is not known if the page was loaded since. */
export function startClock(fresh) {
  [since, first, newest, steps] = [fresh ? Date.now() : null, null, null, 0];
  element("meter").classList.add("on");
  setProgress(0, 1, "Not begun");
  write(element("step"), "");
  clearInterval(timer);
  timer = setInterval(tick, 100);
  tick();
}

export function startAttempt() {
  [first, newest] = [null, null];
}

/** `done` steps of `all` are made. */
export function stepDone(done, all) {
  steps = all;
  newest = { done, at: Date.now() };
  first ??= newest;
  setProgress(done, all, `Step ${done} of ${all}`);
  write(element("step"), `Step ${done} of ${all}`);
  tick();
}

/** Ends it. `text` says how far it came, beside the time that it took. */
export function stopClock(text) {
  clearInterval(timer);
  write(element("time"), spent());
  write(element("step"), text);
}

/** The picture is made, after all steps or after `done` of them. Returns how many, in words. */
export function fullBar(done = steps) {
  const text = steps === 0 ? "" : `Step ${done} of ${steps}`;
  setProgress(steps === 0 ? 1 : done, steps || 1, text || "Done");
  return text;
}

export function hideProgress() {
  element("meter").classList.remove("on");
}

function spent() {
  return since === null ? "" : time((Date.now() - since) / 1000);
}

function setProgress(value, max, text) {
  const bar = element("progress");
  bar.max = max;
  bar.value = value;
  bar.setAttribute("aria-valuetext", text);
}

function tick() {
  if (newest === null || newest.done === first.done) {
    write(element("time"), spent());
    return;
  }
  const pace = (newest.at - first.at) / (newest.done - first.done);
  const left = (pace * (steps - newest.done) - (Date.now() - newest.at)) / 1000;
  const said = left > 0.5 ? `about ${Math.ceil(left)} s left` : "nearly done";
  write(element("time"), [spent(), said].filter((one) => one !== "").join(", "));
}

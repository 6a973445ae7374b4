// What goes on: the status line, the progress bar, and the time that is left.

import { element, time, write } from "/playground/parts.js";

/** When the job was asked for, or null: then no clock runs. */
let since = null;
/** The first and the newest preview of this attempt: step and time. */
let first = null;
let newest = null;
let steps = 0;
let timer;

/** Says what goes on; a screen reader reads it. */
export function say(text) {
  write(element("status"), text);
}

export function startClock() {
  [since, first, newest, steps] = [Date.now(), null, null, 0];
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

/** `text` says how it went, beside the time that it took in seconds, if that is known. */
export function stopClock(text, took) {
  clearInterval(timer);
  if (took !== undefined) {
    write(element("time"), time(took));
  } else {
    write(element("time"), "");
  }
  write(element("step"), text);
  since = null;
}

export function fullBar() {
  const bar = element("progress");
  setProgress(bar.max, bar.max, "Done");
}

export function hideProgress() {
  element("meter").classList.remove("on");
}

export function secondsSince() {
  return since === null ? undefined : (Date.now() - since) / 1000;
}

function setProgress(value, max, text) {
  const bar = element("progress");
  bar.max = max;
  bar.value = value;
  bar.setAttribute("aria-valuetext", text);
}

function tick() {
  const spent = time(secondsSince() ?? 0);
  if (newest === null || newest.done === first.done) {
    write(element("time"), spent);
    return;
  }
  const pace = (newest.at - first.at) / (newest.done - first.done);
  const left = (pace * (steps - newest.done) - (Date.now() - newest.at)) / 1000;
  write(element("time"), left > 0.5 ? `${spent}, about ${Math.ceil(left)} s left` : `${spent}, nearly done`);
}

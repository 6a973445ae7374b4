// The place of the job in the queue, and how long that may take.

import { appNews, chosenApp, refreshApps } from "/playground/apps.js";
import { time } from "/playground/parts.js";
import { tell } from "/playground/says.js";

/** How many jobs are before this one, while it waits. */
let before = null;

export function waits(position) {
  const news = before === null && position > 0;
  before = position;
  tell(place());
  if (news) {
    refreshApps();
  }
}

export function waitsNoMore() {
  before = null;
}

/** The wait that is expected for a new job, as a share for this one. */
function place() {
  const app = chosenApp();
  const where = before === 0 ? "next" : `${before} before this one`;
  if (app?.expected_wait === undefined) {
    return `Queued: ${where}.`;
  }
  const wait = (app.expected_wait * (before + 1)) / (app.waiting + 1);
  return `Queued: ${where}. It begins in ${wait < 5 ? "a few seconds" : `about ${time(wait)}`}.`;
}

appNews.addEventListener("apps", () => {
  if (before !== null) {
    tell(place());
  }
});

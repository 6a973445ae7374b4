// The page: ties what a person does to what is done.

import { shownPicture } from "/playground/actions.js";
import { appNews, sidesOf, watchApps } from "/playground/apps.js";
import { goOnFrom, showChips } from "/playground/branch.js";
import { recipeOf, watchDrops } from "/playground/drop.js";
import { watchFleet } from "/playground/fleet.js";
import { fill, keepDraft, restoreDraft, showShape, written } from "/playground/form.js";
import { watchHistory } from "/playground/history.js";
import { idInAddress, nameInAddress } from "/playground/job.js";
import { watchKeys } from "/playground/keys.js";
import { busy, cancel, finish, generate, reopen, showKept, shownJob } from "/playground/making.js";
import { element } from "/playground/parts.js";
import { complain, tell, tellAgain, tellMeanwhile, tellOffline } from "/playground/says.js";
import { watchStrip } from "/playground/strip.js";

// ---- the form

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
element("cancel").addEventListener("click", cancel);
element("finish").addEventListener("click", finish);

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

element("shape").addEventListener("change", ({ target: { value } }) => {
  if (value !== "typed") {
    [element("width").value, element("height").value] = value === "" ? ["", ""] : sidesOf(Number(value));
    keepDraft();
  }
});

["width", "height"].forEach((side) => element(side).addEventListener("input", showShape));

// ---- going on from a step, a recipe, a picture of the history

function goOn(step, steps) {
  const { id, request } = shownJob();
  goOnFrom({ job: id, step, steps, base: request ?? written().request });
  tell(`The next picture goes on from step ${step + 1}. Change the prompt if you like, then press Generate.`);
  element("prompt").focus();
}

/** Fills the form with the settings of a picture. A job is forgotten soon, so a branch goes on by its recipe. */
async function again(record) {
  const recipe = record.from === null ? {} : await recipeOf(record.blob);
  const { image, mask } = record.request;
  fill(recipe.request === undefined ? record.request : { ...recipe.request, image, mask });
  goOnFrom(recipe.request === undefined ? record.from : null);
  complain("");
  if (!busy()) {
    tell("The form has the settings of this picture. Generate makes it again.");
  }
  element("prompt").scrollIntoView({ block: "center" });
  (busy() ? element("prompt") : element("generate")).focus({ preventScroll: true });
}

async function open(record) {
  await showKept([record]);
  element("frame").scrollIntoView({ block: "nearest" });
}

/** A picture that was deleted does not come back when the page is loaded again. */
function dropped() {
  if (!busy()) {
    nameInAddress(null);
  }
}

/** Follows the job that the address names. */
function follow() {
  const id = idInAddress();
  if (id !== null && !busy()) {
    reopen(id);
  }
}

function useRecipe(request) {
  fill(request);
  goOnFrom(null);
}

// ---- the connection, when no job tells of it

appNews.addEventListener("apps", ({ detail: { apps, status } }) => {
  if (busy()) {
    return;
  }
  if (status === 0) {
    tellOffline();
  } else if (status === 401) {
    tellMeanwhile("This server wants a key.");
  } else if (apps !== null && apps.length === 0) {
    tellMeanwhile("No worker serves a model yet. This page waits for one.");
  } else {
    tellAgain("Ready.");
  }
});

addEventListener("offline", tellOffline);
addEventListener("online", () => tellAgain());

restoreDraft();
showChips();
watchKeys();
watchApps();
watchFleet();
watchStrip(goOn);
watchDrops(useRecipe, () => element("input-part").scrollIntoView({ block: "nearest" }));
watchHistory({ open, again, dropped });
follow();
addEventListener("hashchange", follow);

// What the next job takes over: the step of another job that it goes on from, and members of a request that the form has
// no field for. Each is shown, and can be removed.

import { otherMembers, removeOther } from "/playground/form.js";
import { button, element, make } from "/playground/parts.js";

/** `{job, step, steps, base}`: the job, its step from 0, and its own request. */
let from = null;

export function goOnFrom(place) {
  from = place;
  showChips();
}

/**
 * The request of the form, going on from the chosen step if there is one: then it names only what differs from the old
 * job's request, because everything else stays as it was there.
 */
export function branched(request) {
  if (from === null) {
    return request;
  }
  const { job, step, base, recipe } = from;
  const changed = Object.entries(request).filter(
    ([member, value]) => JSON.stringify(value) !== JSON.stringify(base[member]));
  return {
    app: base.app ?? request.app,
    prompt: request.prompt,
    ...Object.fromEntries(changed.filter(([member]) => member !== "preview_every")),
    from: recipe === undefined ? { job, step } : { recipe, step },
  };
}

/** The job to go on from, if its picture may say what the server has forgotten. */
export function forgettable() {
  return from !== null && from.recipe === undefined ? from.job : null;
}

export function goOnByRecipe(recipe) {
  from = { ...from, recipe };
}

/** What to keep in the history, so that the same settings can be filled in again. */
export function kept(request) {
  return from === null ? { request, from: null } : { request: { ...from.base, ...request, from: undefined }, from };
}

export function showChips() {
  const chips = [];
  if (from !== null) {
    chips.push(chip(`Going on from step ${from.step + 1} of ${from.steps}`, () => (from = null)));
  }
  for (const [member, value] of otherMembers()) {
    chips.push(chip(nameOf(member, value), () => removeOther(member)));
  }
  const list = element("chips");
  list.replaceChildren(...chips);
  list.hidden = chips.length === 0;
}

function nameOf(member, value) {
  switch (member) {
    case "from":
      return `Going on from step ${value.step + 1} of another picture`;
    case "finish_at_step":
      return `Finished early, at step ${value + 1}`;
    default:
      return typeof value === "object" ? `Also set: ${member}` : `Also set: ${member} ${value}`;
  }
}

function chip(text, remove) {
  const press = button("Remove", () => {
    remove();
    showChips();
    element("prompt").focus();
  }, { className: "small" });
  press.setAttribute("aria-label", `Remove: ${text}`);
  return make("li", {}, make("span", { textContent: text }), press);
}

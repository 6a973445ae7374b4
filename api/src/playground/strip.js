// The filmstrip: every preview of the job so far. Each is a place to go on from.

import { button, element, make, write } from "/playground/parts.js";
import { showStep } from "/playground/show.js";

const strip = element("strip");

/** By step, from 0: the place in the strip and the picture. */
let frames = new Map();
let chosen = null;
let goOn = () => {};

/** `go(step, steps)` is called when the person goes on from a step. */
export function watchStrip(go) {
  goOn = go;
}

/** Empties the strip. Its place stays if previews are to come, so that nothing moves when they do. */
export function clearStrip(expecting = false) {
  frames = new Map();
  chosen = null;
  strip.replaceChildren();
  element("strip-part").hidden = !expecting;
  offer();
}

/** The job has ended: without a preview there is no strip. */
export function settleStrip() {
  element("strip-part").hidden = frames.size === 0;
}

export function addPreview(step, steps, { url }) {
  const known = frames.get(step);
  if (known !== undefined) {
    known.picture.src = url;
    known.url = url;
    return;
  }
  const text = `Step ${step + 1}`;
  const picture = make("img", { src: url, alt: text });
  const press = button("", () => choose(chosen === step ? null : step), { className: "frame-button" });
  press.setAttribute("aria-pressed", "false");
  const number = make("span", { textContent: String(step + 1) });
  number.setAttribute("aria-hidden", "true");
  press.append(picture, number);
  const place = make("li", {}, press);
  const next = [...frames.keys()].filter((other) => other > step).sort((a, b) => a - b)[0];
  strip.insertBefore(place, next === undefined ? null : frames.get(next).place);
  frames.set(step, { place, picture, press, url, steps });
  offer();
  if (chosen === null) {
    strip.scrollLeft = strip.scrollWidth;
  }
}

/** Shows the picture itself again. */
export function leaveStrip() {
  if (chosen !== null) {
    frames.get(chosen)?.press.setAttribute("aria-pressed", "false");
    chosen = null;
    offer();
  }
}

function choose(step) {
  leaveStrip();
  chosen = step;
  const frame = frames.get(step);
  frame?.press.setAttribute("aria-pressed", "true");
  showStep(frame?.url ?? null, frame && `Step ${step + 1} of ${frame.steps}, chosen in the filmstrip`);
  offer();
}

function offer() {
  const press = element("go-on");
  press.hidden = chosen === null;
  element("strip-hint").hidden = chosen !== null || frames.size === 0;
  if (chosen !== null) {
    write(press, `Go on from step ${chosen + 1}`);
  }
}

element("go-on").addEventListener("click", () => {
  const { steps } = frames.get(chosen);
  const step = chosen;
  choose(null);
  goOn(step, steps);
});

// Small pieces of the page.

/** The element with this id. */
export function element(id) {
  return document.getElementById(id);
}

/** A new element with these properties and contents. Texts are always text, never markup. */
export function make(tag, properties = {}, ...contents) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...contents);
  return made;
}

/** A button of the page: never one that sends the form. */
export function button(text, press, properties = {}) {
  const made = make("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", press);
  return made;
}

/** Changes a text only if it differs, so that a screen reader does not say it again. */
export function write(place, text) {
  if (place.textContent !== text) {
    place.textContent = text;
  }
}

/** Disables a button. If it has the focus, that goes to `instead`: otherwise a keyboard would lose its place. */
export function disable(press, instead) {
  const focused = document.activeElement === press;
  press.disabled = true;
  if (focused) {
    instead.focus({ preventScroll: true });
  }
}

/** A time for people. */
export function time(seconds) {
  if (seconds < 10) {
    return `${seconds.toFixed(1)} s`;
  }
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

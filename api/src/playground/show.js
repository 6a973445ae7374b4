// The large picture: a preview while it forms, a step that was chosen, or a finished picture.

import { element, write } from "/playground/parts.js";

const picture = element("picture");
const frame = element("frame");

/** What is shown when no step is chosen. */
let usual = null;

function put(shown) {
  picture.hidden = shown === null;
  element("empty").hidden = shown !== null;
  if (shown === null) {
    picture.alt = "";
    picture.removeAttribute("src");
  } else {
    picture.alt = shown.alt;
    picture.src = shown.src;
  }
}

/** Hides the picture, and all that belongs to it, while a request is sent. */
export function cover() {
  element("result").classList.add("covered");
  put(null);
}

export function uncover() {
  element("result").classList.remove("covered");
  put(usual);
}

/** The frame has the shape of the picture, and fits the window. */
function shape(width, height) {
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style.width = `min(100%, ${(80 * width) / height}vh)`;
}

function named(what, prompt) {
  return prompt ? `${what}: ${prompt}` : what;
}

/** An empty frame of the shape of the picture that is to come, so that nothing moves when it comes. */
export function showNothing(width, height) {
  usual = null;
  put(null);
  write(element("empty"), "The picture forms here");
  shape(width || 1, height || 1);
  frame.classList.remove("unfinished");
}

export function showPreview({ url, width, height }, done, steps, prompt) {
  usual = { src: url, alt: named(`Preview at step ${done} of ${steps}`, prompt) };
  shape(width, height);
  put(usual);
}

/** A step of the filmstrip, until null is given. */
export function showStep(url, text) {
  put(url === null ? usual : { src: url, alt: text });
}

export function showPicture({ src, width, height, of, index, prompt }) {
  usual = { src, alt: named(of > 1 ? `Picture ${index + 1} of ${of}` : "Picture", prompt) };
  shape(width, height);
  frame.classList.remove("unfinished");
  put(usual);
}

/** The job ended without a picture: what is left of it is not one. */
export function showUnfinished(prompt) {
  write(element("empty"), "No picture");
  if (usual !== null) {
    usual = { ...usual, alt: named("Unfinished", prompt) };
    frame.classList.add("unfinished");
    put(usual);
  }
}

export function showForming(on) {
  frame.classList.toggle("forming", on);
}

// Pictures that are dropped on the page or pasted into it. One that carries its recipe fills the form; another one may
// be the input picture.

import { useAsInput } from "/playground/input.js";
import { ask } from "/playground/key.js";
import { button, element, make } from "/playground/parts.js";
import { refusalOf } from "/playground/refusal.js";

/**
 * Reads the recipe of a picture: `{request, missing}`, or `{why}`.
 */
export async function recipeOf(blob) {
  const answer = await ask("/v1/recipe", {
    method: "POST",
    headers: { "content-type": blob.type || "application/octet-stream" },
    body: blob,
  }).catch(() => null);
  if (answer?.ok) {
    return answer.json();
  }
  if (answer === null) {
    return { why: "The server does not answer, so the recipe of this picture cannot be read." };
  }
  if (answer.status === 422) {
    return { why: "This picture carries no recipe." };
  }
  if (answer.status === 404 || answer.status === 405) {
    return { why: "This server cannot read recipes." };
  }
  return { why: (await refusalOf(answer)).text || "The recipe of this picture cannot be read." };
}

function notice(text, ...buttons) {
  const leave = button("Close", () => (element("notice").hidden = true), { className: "quiet" });
  element("notice").replaceChildren(make("p", { textContent: text }), make("div", { className: "row" }, ...buttons, leave));
  element("notice").hidden = false;
  element("notice").scrollIntoView({ block: "nearest" });
}

export function hideNotice() {
  element("notice").hidden = true;
}

/** `fill(request)` is called with the request of a recipe, and `used()` when a picture became the input. */
export function watchDrops(fill, used) {
  const asInput = async (file) => {
    const wrong = await useAsInput(file);
    wrong === "" ? used() : notice(wrong);
    if (wrong === "") {
      hideNotice();
    }
  };
  const take = async (file) => {
    notice(`Reading ${file.name || "the picture"}…`);
    const { request, missing = [], why } = await recipeOf(file);
    const use = button("Use as input picture", () => asInput(file));
    if (why !== undefined) {
      notice(why, use);
      return;
    }
    fill(request);
    const lacks = missing.map(({ message }) => message).join(" ");
    notice(`The form has the settings of this picture. ${lacks}`, use);
  };
  const pictureIn = (transfer) => [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/"));

  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  const files = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => files(event) && over(1));
  addEventListener("dragleave", (event) => files(event) && over(-1));
  addEventListener("dragover", (event) => files(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!files(event)) {
      return;
    }
    event.preventDefault();
    over(-depth);
    const file = pictureIn(event.dataTransfer);
    if (file === undefined) {
      notice("This is not a picture. Drop a PNG, JPEG, WebP or GIF.");
    } else if (element("input-part").contains(event.target)) {
      asInput(file);
    } else {
      take(file);
    }
  });
  addEventListener("paste", (event) => {
    const file = pictureIn(event.clipboardData);
    if (file !== undefined && !event.clipboardData.types.includes("text/plain")) {
      event.preventDefault();
      take(file);
    }
  });
}

// Two pictures side by side, with the settings in which they differ.

import { element, make } from "/playground/parts.js";

const NAMES = {
  app: "Model",
  prompt: "Prompt",
  negative_prompt: "Negative prompt",
  num_inference_steps: "Steps",
  guidance_scale: "Guidance",
  scheduler: "Sampler",
  num_images: "Number of images",
  strength: "Strength",
  seed: "Seed",
  loras: "LoRAs",
};

let shown = [];

/** Opens the comparison of two records of the history. */
export function compare(left, right) {
  close();
  [left, right].forEach(({ blob }, side) => {
    const url = URL.createObjectURL(blob);
    shown.push(url);
    const picture = element(side === 0 ? "left" : "right");
    picture.src = url;
    picture.alt = `${side === 0 ? "Left" : "Right"}: ${(side === 0 ? left : right).request?.prompt ?? "no prompt known"}`;
  });
  element("differences").replaceChildren(...differences(settings(left), settings(right)));
  const differ = element("differences").children.length > 0;
  element("same").hidden = differ;
  element("differ").hidden = !differ;
  element("compare").showModal();
}

function settings({ request, seed, width, height }) {
  const { image, mask, from, preview_every, width: ignoredWidth, height: ignoredHeight, ...rest } = request ?? {};
  const said = { ...rest, seed, Size: `${width} × ${height}` };
  if (image !== undefined) {
    said["Input picture"] = image.length > 40 ? `yes, ${image.length} characters` : image;
  }
  return said;
}

function differences(left, right) {
  const members = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  return members
    .filter((member) => JSON.stringify(left[member]) !== JSON.stringify(right[member]))
    .map((member) => make("tr", {},
      make("th", { scope: "row", textContent: NAMES[member] ?? member }),
      make("td", { textContent: text(left[member]) }),
      make("td", { textContent: text(right[member]) })));
}

function text(value) {
  if (value === undefined || value === "") {
    return "not set";
  }
  if (Array.isArray(value) && value.every((one) => one.path)) {
    return value.map(({ path, scale = 1 }) => `${path} (${scale})`).join(", ");
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function close() {
  shown.forEach((url) => URL.revokeObjectURL(url));
  shown = [];
}

element("compare-close").addEventListener("click", () => element("compare").close());
element("compare").addEventListener("close", close);

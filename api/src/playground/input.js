// The input picture, and the mask that says where it is repainted.

import { openBrush } from "/playground/brush.js";
import { uriOf } from "/playground/pictures.js";
import { element } from "/playground/parts.js";

/** The server reads these. Others are converted, if the browser can read them. */
const READ = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const LARGEST_FILE = 8 << 20;
const LARGEST_SIDE = 4096;

/** Data URIs, or null. */
let image = null;
let mask = null;

/** The members of the request, and what is wrong with them. */
export function inputMembers() {
  if (image === null) {
    return { members: {}, wrong: [] };
  }
  const text = element("strength").value.trim();
  const strength = text === "" ? {} : { strength: Number(text) };
  const wrong = element("strength").validity.badInput ? [{ at: ["strength"], text: "This should be a number." }] : [];
  return { members: { image, ...(mask === null ? {} : { mask }), ...strength }, wrong };
}

export function fillInput(members) {
  image = members.image ?? null;
  mask = members.mask ?? null;
  element("strength").value = members.strength ?? "";
  show();
}

/** Uses a file as the input picture. Returns why not, or an empty text. */
export async function useAsInput(file) {
  try {
    image = await uriOf(await readable(file));
    mask = null;
    show();
    return "";
  } catch {
    return "This browser cannot read this picture. Use a PNG, JPEG, WebP or GIF.";
  }
}

/** The file, or a copy that the server can read. */
async function readable(file) {
  const bitmap = await createImageBitmap(file);
  const side = Math.max(bitmap.width, bitmap.height);
  if (READ.includes(file.type) && file.size <= LARGEST_FILE && side <= LARGEST_SIDE) {
    return file;
  }
  const scale = Math.min(1, 2048 / side);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width * scale, bitmap.height * scale].map(Math.round);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob === null ? reject(new Error()) : resolve(blob)), "image/jpeg", 0.95));
}

/** Which parts the app offers: without input pictures the whole part is hidden. */
export function offerInput(features) {
  element("input-part").hidden = !features.includes("image") && image === null;
  element("repaint").hidden = !features.includes("mask") && mask === null;
}

function show() {
  const some = image !== null;
  element("input-shown").hidden = !some;
  element("input-picture").src = image ?? "";
  element("mask-picture").hidden = mask === null;
  element("mask-picture").src = mask ?? "";
  element("unmask").hidden = mask === null;
  element("strength").placeholder = mask === null ? "0.3" : "1";
  element("input-says").textContent = mask === null
    ? "The new picture begins with this one, and has its size if no other is typed. A larger strength changes more."
    : "Only the white part of the mask is repainted.";
}

element("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file !== undefined) {
    element("input-says").textContent = await useAsInput(file) || element("input-says").textContent;
  }
});

element("remove-input").addEventListener("click", () => {
  fillInput({});
  element("file").focus();
});

element("repaint").addEventListener("click", async () => {
  mask = (await openBrush(image, mask)) ?? mask;
  show();
});

element("unmask").addEventListener("click", () => {
  mask = null;
  show();
  element("repaint").focus();
});

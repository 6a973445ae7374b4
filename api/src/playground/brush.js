// The brush: paints the mask over the input picture. It works with a mouse, a pen, a finger, and the keyboard.

import { element } from "/playground/parts.js";

/** The longest side of a mask. The server fits it to the picture. */
const LONGEST = 1024;

/** What is painted is seen in this colour. The mask itself is white. */
const COLOUR = "#2563eb";

const dialog = element("brush");
const canvas = element("brush-canvas");
const pen = canvas.getContext("2d");
const cursor = element("brush-cursor");

let erases = false;
/** The place of the brush, in pixels of the canvas. */
let at = { x: 0, y: 0 };

/** Resolves to the mask as a data URI, or to null if the person leaves without one. */
export async function openBrush(image, mask) {
  const picture = await loaded(image);
  const scale = Math.min(1, LONGEST / Math.max(picture.naturalWidth, picture.naturalHeight));
  canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
  element("brush-picture").src = image;
  const shape = canvas.width / canvas.height;
  element("brush-area").style.width = `min(100%, ${55 * shape}vh)`;
  if (mask !== null) {
    pen.drawImage(await loaded(mask), 0, 0, canvas.width, canvas.height);
    showWhite();
  }
  at = { x: canvas.width / 2, y: canvas.height / 2 };
  erase(false);
  dialog.returnValue = "";
  dialog.showModal();
  showCursor();
  canvas.focus();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "use" ? finished() : null;
}

async function loaded(uri) {
  const picture = new Image();
  picture.src = uri;
  await picture.decode();
  return picture;
}

/** Makes a mask in black and white what the brush paints: the colour, and nothing elsewhere. */
function showWhite() {
  const all = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < all.data.length; i += 4) {
    all.data[i + 3] = all.data[i] >= 128 && all.data[i + 3] >= 128 ? 255 : 0;
  }
  pen.putImageData(all, 0, 0);
  fill("source-in", COLOUR);
}

function fill(mode, colour) {
  pen.globalCompositeOperation = mode;
  pen.fillStyle = colour;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "source-over";
}

/** The mask: white where it was painted, black elsewhere. Null if nothing was painted. */
function finished() {
  const painted = pen.getImageData(0, 0, canvas.width, canvas.height).data.some((value, i) => i % 4 === 3 && value > 0);
  if (!painted) {
    return null;
  }
  fill("source-in", "white");
  fill("destination-over", "black");
  return canvas.toDataURL("image/png");
}

function radius() {
  return (Number(element("brush-size").value) / 200) * Math.max(canvas.width, canvas.height);
}

function stroke(from, to) {
  pen.globalCompositeOperation = erases ? "destination-out" : "source-over";
  pen.strokeStyle = COLOUR;
  pen.lineCap = "round";
  pen.lineWidth = radius() * 2;
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y + 0.01);
  pen.stroke();
}

function showCursor() {
  const shown = canvas.getBoundingClientRect();
  const scale = shown.width / canvas.width;
  const size = radius() * 2 * scale;
  Object.assign(cursor.style, {
    width: `${size}px`,
    height: `${size}px`,
    left: `${at.x * scale - size / 2}px`,
    top: `${at.y * scale - size / 2}px`,
  });
}

function placeOf(event) {
  const shown = canvas.getBoundingClientRect();
  return {
    x: ((event.clientX - shown.left) * canvas.width) / shown.width,
    y: ((event.clientY - shown.top) * canvas.height) / shown.height,
  };
}

function erase(on) {
  erases = on;
  element("brush-erase").setAttribute("aria-pressed", String(on));
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  at = placeOf(event);
  stroke(at, at);
  showCursor();
});

canvas.addEventListener("pointermove", (event) => {
  const next = placeOf(event);
  if (event.buttons === 1) {
    stroke(at, next);
  }
  at = next;
  showCursor();
});

canvas.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const before = at;
  if (way !== undefined) {
    const far = radius() / 2;
    at = {
      x: Math.min(Math.max(at.x + way[0] * far, 0), canvas.width),
      y: Math.min(Math.max(at.y + way[1] * far, 0), canvas.height),
    };
    if (event.shiftKey) {
      stroke(before, at);
    }
  } else if (event.key === " ") {
    stroke(at, at);
  } else {
    return;
  }
  event.preventDefault();
  showCursor();
});

element("brush-size").addEventListener("input", showCursor);
element("brush-erase").addEventListener("click", () => erase(!erases));
element("brush-clear").addEventListener("click", () => pen.clearRect(0, 0, canvas.width, canvas.height));
element("brush-use").addEventListener("click", () => dialog.close("use"));
element("brush-leave").addEventListener("click", () => dialog.close(""));

// Errors beside the fields at fault.

/** The id of the field for each member of a request. */
const FIELDS = {
  prompt: "prompt",
  negative_prompt: "negative",
  num_inference_steps: "steps",
  guidance_scale: "guidance",
  width: "width",
  height: "height",
  seed: "seed",
  num_images: "count",
  scheduler: "scheduler",
  output_format: "format",
  strength: "strength",
  image: "file",
  mask: "file",
  loras: "lora",
  app: "app",
};

/** How a member without a field is called. */
const NAMES = { from: "Going on from a step" };

const marked = new Set();

/** Marks a field as wrong, and says why beside it. */
function mark(field, text) {
  const id = `${field.id}-wrong`;
  let place = document.getElementById(id);
  if (place === null) {
    place = document.createElement("p");
    place.id = id;
    place.className = "wrong";
    (field.closest(".field") ?? field.parentElement).append(place);
  }
  place.textContent = place.textContent === "" ? text : `${place.textContent} ${text}`;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-errormessage", id);
  const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((one) => one !== "" && one !== id);
  field.setAttribute("aria-describedby", [id, ...others].join(" "));
  marked.add(field);
}

function unmark(field) {
  const id = `${field.id}-wrong`;
  document.getElementById(id)?.remove();
  field.removeAttribute("aria-invalid");
  field.removeAttribute("aria-errormessage");
  const others = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((one) => one !== id);
  others.length === 0 ? field.removeAttribute("aria-describedby")
                      : field.setAttribute("aria-describedby", others.join(" "));
  marked.delete(field);
}

export function clearFields() {
  marked.forEach(unmark);
}

/** Shows each wrong field, and goes to the first of them. What has no field is returned, as sentences. */
export function showFields(wrong) {
  clearFields();
  const rest = [];
  for (const { at, text } of wrong) {
    const field = document.getElementById(FIELDS[at[0]] ?? "");
    if (field === null || field.closest("[hidden]") !== null) {
      rest.push(at.length === 0 ? text : `${NAMES[at[0]] ?? at.join(".")}: ${text}`);
    } else {
      mark(field, text);
    }
  }
  [...marked].sort((a, b) => (a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1))[0]?.focus();
  return rest;
}

// A field that is being mended is no longer wrong.
document.addEventListener("input", ({ target }) => {
  if (marked.has(target)) {
    unmark(target);
  }
});

// Asks for a key when the server wants one.

import { appNews } from "/playground/apps.js";
import { giveKey, hasKey, keyNews } from "/playground/key.js";
import { element, write } from "/playground/parts.js";
import { complain } from "/playground/says.js";

/** Leads to the field if a key is missing. Returns whether one is. */
export function askForKey() {
  const missing = !element("key-form").hidden;
  if (missing) {
    element("key").focus();
  }
  return missing;
}

export function watchKeys() {
  const [form, field] = [element("key-form"), element("key")];
  keyNews.addEventListener("wanted", () => {
    write(element("key-says"), hasKey() ? "This is not a key of this server." : "This server wants a key.");
    field.setAttribute("aria-invalid", String(hasKey()));
    if (form.hidden) {
      form.hidden = false;
      field.focus();
    }
  });
  appNews.addEventListener("apps", ({ detail: { status } }) => {
    if (status === 200) {
      form.hidden = true;
    } else if (status === 403) {
      form.hidden = false;
      write(element("key-says"), "This key may not make pictures: its scopes lack jobs.");
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim() !== "") {
      complain("");
      giveKey(field.value);
      field.value = "";
      element("prompt").focus();
    }
  });
}

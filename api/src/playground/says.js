// The status line, which a screen reader reads, and what went wrong with the whole request.

import { element, write } from "/playground/parts.js";

const OFFLINE = "Offline. This page keeps trying, and goes on when it is no longer offline.";

/** What was last said that is not about the connection. */
let said = "";

/** Says what goes on. */
export function tell(text) {
  said = text;
  write(element("status"), text);
}

/** Says that the server cannot be reached, until `tellAgain` says what was said before. */
export function tellOffline() {
  write(element("status"), OFFLINE);
}

export function tellAgain(otherwise = "") {
  tell(said === "" ? otherwise : said);
}

/** Says this until something is told. */
export function tellMeanwhile(text) {
  write(element("status"), text);
}

/** Says what went wrong, or nothing more. */
export function complain(text) {
  write(element("failure"), text);
  element("failure").hidden = text === "";
}

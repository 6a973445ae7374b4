// Requests to this server. If it has keys, a request carries the key of this visit: it is kept in this tab alone, and is
// gone when the tab is closed.

const PLACE = "glimpse-key";

/** Says `wanted` when the server wants a key or another one, and `given` when the person has typed one. */
export const keyNews = new EventTarget();

let given = stored();

function stored() {
  try {
    return sessionStorage.getItem(PLACE) ?? "";
  } catch {
    return ""; // This browser keeps nothing: the key lives as long as the page.
  }
}

export function hasKey() {
  return given !== "";
}

export function giveKey(text) {
  // Only these characters can be in a header.
  given = text.replace(/[^\x21-\x7e]/g, "");
  try {
    sessionStorage.setItem(PLACE, given);
  } catch {
    // As above.
  }
  keyNews.dispatchEvent(new Event("given"));
}

/** fetch, with the key if there is one. */
export async function ask(path, options = {}) {
  const own = given === "" ? {} : { authorization: `Bearer ${given}` };
  const answer = await fetch(path, { cache: "no-store", ...options, headers: { ...options.headers, ...own } });
  if (answer.status === 401) {
    keyNews.dispatchEvent(new Event("wanted"));
  }
  return answer;
}

/** The answer to a request with a body in JSON. */
export function send(path, body, headers = {}) {
  return ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** Resolves when a key is given. */
export function nextKey() {
  return new Promise((resolve) => keyNews.addEventListener("given", resolve, { once: true }));
}

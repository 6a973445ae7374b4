// What the server says when it refuses: a sentence for each field at fault, or one about the whole request.

/** The server could not be reached. */
export const AWAY = { fields: [], text: "The server does not answer. Check the connection, then try again.", status: 0 };

/** What an answer that is not a success says: `fields` are `{at, text}`, where `at` is the path in the body. */
export async function refusalOf(answer) {
  const { status } = answer;
  const body = await answer.json().catch(() => null);
  const detail = body?.detail;
  if (Array.isArray(detail)) {
    const fields = detail.map((one) => ({ at: one.loc.filter((part) => part !== "body"), text: sentence(one) }));
    return { fields, text: "", status };
  }
  if (status === 401) {
    return { fields: [], text: "This server wants a key. Type it above, then press Generate.", status };
  }
  const said = typeof detail === "string" ? stop(detail) : `The server answered with the status ${status}.`;
  const wait = Number(answer.headers.get("retry-after"));
  return { fields: [], text: wait > 0 ? `${said} Try again in ${wait} s.` : said, status };
}

function sentence({ loc, type, msg }) {
  if (loc.at(-1) === "prompt" && (type === "missing" || type === "string_too_short")) {
    return "Say what you want to see.";
  }
  if (type === "extra_forbidden") {
    return "This server does not know this setting.";
  }
  return stop(msg.replace(/^Input should/, "This should").replace(/^(String|List) should/, "This should"));
}

/** The text as a sentence, with a full stop at its end. */
export function stop(text) {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

// A request as a program: for curl, Python and JavaScript. Each makes the same picture on this server.

const KEY = "YOUR_KEY";
/** A longer argument of a command is refused by some systems. */
const LONGEST_ARGUMENT = 100_000;

/** What to send where. fal's route waits for the pictures, but cannot go on from a step. */
function call(request, seed) {
  const { app, preview_every, ...rest } = request;
  const body = { ...rest, ...(request.seeds === undefined && seed !== undefined ? { seed } : {}) };
  if (request.from !== undefined || request.finish_at_step !== undefined) {
    return { waits: false, url: `${location.origin}/v1/jobs`, body: { app, ...body } };
  }
  // There a name with a `/` and without this ending would be one of the Hub.
  const local = ({ path, ...others }) =>
    ({ path: /^[^:]+\/[^:]+$/.test(path) && !path.endsWith(".safetensors") ? `${path}.safetensors` : path, ...others });
  const loras = body.loras === undefined ? {} : { loras: body.loras.map(local) };
  return { waits: true, url: `${location.origin}/${app}`, body: { ...body, ...loras, sync_mode: true } };
}

function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

export function curl(request, seed, keyed) {
  const { url, body, waits } = call(request, seed);
  const json = JSON.stringify(body);
  const long = json.length > LONGEST_ARGUMENT;
  const key = keyed ? ["-H 'Authorization: Bearer " + KEY + "'"] : [];
  const lines = [
    `curl -sS --fail-with-body ${shellQuoted(url)}`,
    ...key,
    "-H 'Content-Type: application/json'",
    long ? "--data-binary @- <<'JSON'" : `--data-raw ${shellQuoted(json)}`,
  ];
  const send = `${lines.join(" \\\n  ")}\n${long ? `${json}\nJSON\n` : ""}`;
  if (waits) {
    return send;
  }
  // The events end with the job; then its picture is there.
  const get = (path) => [`curl -sS --fail-with-body "${url}/$job/${path}"`, ...key].join(" ");
  return `job=$(${send.trimEnd()}${long ? "\n" : ""})
job=$(printf '%s' "$job" | sed -E 's/.*"id":"([^"]+)".*/\\1/')
${get("events")} > /dev/null
${get("image")} -o glimpse.${{ png: "png", webp: "webp" }[body.output_format] ?? "jpg"}
`;
}

/** The request for people to read. In JSON there are never three quotes in a row, so Python reads it as it is. */
function pretty(body, indent) {
  return JSON.stringify(body, null, 2).replaceAll("\n", `\n${indent}`);
}

export function python(request, seed, keyed) {
  const { url, body, waits } = call(request, seed);
  const key = keyed ? `, "Authorization": "Bearer ${KEY}"` : "";
  const wait = waits ? `answer = ask(${JSON.stringify(url)}, REQUEST)` : `job = ask(${JSON.stringify(url)}, REQUEST)
job_url = ${JSON.stringify(location.origin)} + job["urls"]["job"]
while (answer := ask(job_url))["status"] in ("queued", "running"):
    time.sleep(1)
answer = answer.get("result") or sys.exit(answer.get("error", {}).get("message", answer["status"]))`;
  return `import ${waits ? "json" : "json, sys, time"}, urllib.request

REQUEST = json.loads(r"""${pretty(body, "")}""")
HEADERS = {"Content-Type": "application/json"${key}}


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, HEADERS)) as answer:
        return json.load(answer)


${wait}
for number, image in enumerate(answer["images"], 1):
    name = "glimpse-%s-%s.%s" % (answer["seed"], number, image["content_type"].split("/")[1])
    with open(name, "wb") as file, urllib.request.urlopen(image["url"]) as picture:
        file.write(picture.read())
    print(name)
`;
}

export function javascript(request, seed, keyed) {
  const { url, body, waits } = call(request, seed);
  const key = keyed ? `, authorization: "Bearer ${KEY}"` : "";
  const wait = waits ? `  const answer = await ask(${JSON.stringify(url)}, request);` : `  const job = await ask(${JSON.stringify(url)}, request);
  let state;
  do {
    await new Promise((resume) => setTimeout(resume, 1000));
    state = await ask(${JSON.stringify(location.origin)} + job.urls.job);
  } while (state.status === "queued" || state.status === "running");
  if (!state.result) throw new Error(state.error?.message ?? state.status);
  const answer = state.result;`;
  return `// node glimpse.mjs
(async () => {
  const request = ${pretty(body, "  ")};
  const headers = { "content-type": "application/json"${key} };

  async function ask(url, body) {
    const answer = await fetch(url, { headers, ...(body && { method: "POST", body: JSON.stringify(body) }) });
    if (!answer.ok) throw new Error(answer.status + " " + (await answer.text()));
    return answer.json();
  }

${wait}
  const { writeFile } = await import("node:fs/promises");
  for (const [index, image] of answer.images.entries()) {
    const name = \`glimpse-\${answer.seed}-\${index + 1}.\${image.content_type.split("/")[1]}\`;
    await writeFile(name, Buffer.from(await (await fetch(image.url)).arrayBuffer()));
    console.log(name);
  }
})();
`;
}

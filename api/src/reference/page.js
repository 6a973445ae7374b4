// Shows the OpenAPI document of the server that the page comes from.

const METHODS = ["get", "post", "put", "patch", "delete"];

/** An element with children: texts and elements. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/** A text in which `words` between backticks are code. */
function prose(text) {
  const parts = String(text ?? "").split("`");
  return element("p", {}, ...parts.map((part, at) => (at % 2 ? element("code", {}, part) : part)));
}

const nameOf = (reference) => reference.split("/").pop();

/** What a schema says in a few words, with links to the schemas that it names. */
function brief(schema) {
  if (!schema || Object.keys(schema).length === 0) return ["anything"];
  if (schema.$ref) return [element("a", { href: `#${nameOf(schema.$ref)}` }, nameOf(schema.$ref))];
  for (const [key, word] of [["oneOf", " or "], ["anyOf", " or "], ["allOf", " with "]]) {
    if (schema[key]) return schema[key].flatMap((one, at) => [at ? word : "", ...brief(one)]);
  }
  if (schema.contentSchema) return ["events of ", ...brief(schema.contentSchema)];
  if (schema.enum) return [`one of ${schema.enum.map((value) => JSON.stringify(value)).join(", ")}`];
  const type = [schema.type ?? "anything"].flat().join(" or ");
  if (schema.items) return [type, " of ", ...brief(schema.items)];
  if (schema.properties) return [type, " of ", Object.keys(schema.properties).join(", ")];
  return [schema.format ? `${type} (${schema.format})` : type];
}

/** The bounds and the default of a schema. */
function bounds(schema) {
  const words = {
    minimum: "from", exclusiveMinimum: "above", maximum: "to", multipleOf: "multiple of", minLength: "characters from",
    maxLength: "characters to", minItems: "entries from", maxItems: "entries to", pattern: "as", default: "default",
  };
  const said = Object.entries(words).filter(([key]) => schema?.[key] !== undefined);
  return said.map(([key, word]) => `${word} ${key === "pattern" ? schema[key] : JSON.stringify(schema[key])}`).join(", ");
}

/** A row of a table of fields. */
function row(name, required, schema, text) {
  const limits = bounds(schema);
  return element("tr", {},
    element("td", {}, element("code", {}, name), required ? element("p", { class: "quiet" }, "required") : null),
    element("td", {},
      element("p", { class: "quiet" }, ...brief(schema), limits ? `; ${limits}` : ""),
      text ? prose(text) : null));
}

/** The members of an object schema, and of those that it joins. */
function members(schema) {
  const joined = (schema.allOf ?? schema.oneOf ?? schema.anyOf ?? []).filter((one) => one.properties);
  const rows = [schema, ...joined].flatMap((one) =>
    Object.entries(one.properties ?? {}).map(([name, member]) =>
      row(name, (one.required ?? []).includes(name), member, member.description)));
  return rows.length ? element("table", {}, ...rows) : element("p", {}, ...brief(schema));
}

function contents(content) {
  return Object.entries(content ?? {}).map(([type, { schema }]) =>
    element("p", { class: "quiet" }, `${type}: `, ...brief(schema)));
}

/** One method of one path. */
function route(path, method, operation) {
  const parameters = operation.parameters ?? [];
  const answers = Object.entries(operation.responses);
  return element("details", { id: operation.operationId },
    element("summary", {},
      element("span", { class: "method" }, method.toUpperCase()),
      element("span", { class: "path" }, path),
      element("span", { class: "what" }, operation.summary)),
    element("div", {},
      operation.description ? prose(operation.description) : null,
      parameters.length ? element("h3", {}, "Parameters") : null,
      element("table", {}, ...parameters.map((one) =>
        row(`${one.name} (${one.in})`, one.required, one.schema, one.description))),
      operation.requestBody ? element("h3", {}, "Body") : null,
      ...contents(operation.requestBody?.content),
      element("h3", {}, "Answers"),
      element("table", {}, ...answers.map(([status, answer]) =>
        element("tr", {},
          element("td", {}, element("code", {}, status)),
          element("td", {}, prose(answer.description), ...contents(answer.content)))))));
}

function show(api) {
  const place = (id) => document.getElementById(id);
  place("about").replaceWith(prose(api.info.description));
  place("server").textContent = `version ${api.info.version}, ${api.servers.map(({ url }) => url).join(", ")}`;
  for (const tag of api.tags) {
    const id = tag.name.replaceAll(/[^a-z]+/g, "-");
    place("contents").append(element("a", { href: `#${id}` }, tag.name));
    place("routes").append(element("h2", { id }, tag.name), prose(tag.description));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((method) => item[method]?.tags?.includes(tag.name))) {
        place("routes").append(route(path, method, item[method]));
      }
    }
  }
  place("contents").append(element("a", { href: "#schemas" }, "schemas"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    place("named").append(element("details", { id: name },
      element("summary", {}, element("code", {}, name)),
      element("div", {}, schema.description ? prose(schema.description) : null, members(schema))));
  }
}

/** Opens what the address names. */
function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) named.open = true;
  named?.scrollIntoView();
}

try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
  show(await answer.json());
  openNamed();
  addEventListener("hashchange", openNamed);
} catch (error) {
  const place = document.getElementById("error");
  place.textContent = `The document cannot be shown: ${error.message}. Load the page again.`;
  place.hidden = false;
}

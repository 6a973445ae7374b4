// OpenAI's own JavaScript client, unmodified, against the server named on the command line: `baseURL` alone.
// Prints one JSON object for the Rust test.
import OpenAI, { toFile } from "openai";

const [base, mask64] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: process.env.OPENAI_API_KEY ?? "any", maxRetries: 0 });

const app = "glimpse/demo";
const heart = { prompt: "a red heart on a white background", seed: 1 };
const long = { prompt: "x", n: 4, size: "384x384", num_inference_steps: 50 };
// 16x16 RGBA pixels: the left half is transparent.
const mask = () => toFile(Buffer.from(mask64, "base64"), "mask.png", { type: "image/png" });

const uri = (base64, kind = "png") => `data:image/${kind};base64,${base64}`;
const shown = (event) => ({
  type: event.type,
  url: uri(event.b64_json, event.type.endsWith("partial_image") ? "jpeg" : event.output_format),
  index: event.partial_image_index ?? null,
  about: [event.size, event.quality, event.background, event.output_format],
  dated: event.created_at > 1_700_000_000,
});
const all = async (stream) => {
  const events = [];
  for await (const event of stream) events.push(shown(event));
  return events;
};
const refused = (promise) =>
  promise.then(
    () => null,
    (error) => ({
      kind: error.constructor.name,
      status: error.status,
      type: error.type,
      param: error.param,
      code: error.code,
      id: error.requestID,
    }),
  );

const whole = await client.images.generate({ ...heart, model: app });
const linked = await client.images.generate({ ...heart, n: 2, response_format: "url" });
// Without --results the picture is a route of the API, which wants the key too.
const headers = { authorization: `Bearer ${client.apiKey}` };
const load = async ({ url }) => uri(Buffer.from(await (await fetch(url, { headers })).arrayBuffer()).toString("base64"));
const drawn = await toFile(Buffer.from(whole.data[0].b64_json, "base64"), "heart.png", { type: "image/png" });
const edited = await client.images.edit({
  image: drawn, mask: await mask(), prompt: "a blue heart", size: "128x128", seed: 3, num_inference_steps: 4,
});
const edits = await client.images.edit({
  image: [await mask()], prompt: "a heart", stream: true, partial_images: 1, size: "64x64", output_format: "webp",
  strength: 0.5, num_inference_steps: 4,
});
const models = [];
for await (const model of client.models.list()) models.push([model.id, model.object, model.owned_by]);
const concurrent = [1, 2, 1].map((seed) => client.images.generate({ ...heart, seed }));
const hungUp = await client.images.generate({ ...long, stream: true, partial_images: 3 });
for await (const _ of hungUp) break;

const seen = {
  whole: {
    url: uri(whole.data[0].b64_json), size: whole.size, format: whole.output_format, seed: whole.seed,
    usage: whole.usage ?? null, id: whole._request_id,
  },
  linked: await Promise.all(linked.data.map(load)),
  edited: uri(edited.data[0].b64_json),
  stream: await all(await client.images.generate({ ...heart, stream: true, partial_images: 3, quality: "high" })),
  edits: await all(edits),
  models,
  model: (await client.models.retrieve(app)).id,
  concurrent: (await Promise.all(concurrent)).map(({ data }) => uri(data[0].b64_json)),
  refused: {
    size: await refused(client.images.generate({ prompt: "x", size: "100x100" })),
    n: await refused(client.images.generate({ prompt: "x", n: 5 })),
    background: await refused(client.images.generate({ prompt: "x", background: "transparent" })),
    partial_images: await refused(client.images.generate({ prompt: "x", stream: true, partial_images: 4 })),
    prompt: await refused(client.images.generate({ prompt: "" })),
    mask: await refused(
      client.images.edit({ image: await mask(), mask: await toFile(Buffer.from("no"), "x.png"), prompt: "x" }),
    ),
    model: await refused(client.images.generate({ prompt: "x", model: "gpt-image-2" })),
    retrieve: await refused(client.models.retrieve("glimpse/other")),
    timeout: await refused(client.images.generate(long, { timeout: 500 })),
  },
};
console.log(JSON.stringify(seen));

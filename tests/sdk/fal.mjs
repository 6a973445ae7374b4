// fal's own JavaScript client, unmodified, against the server named on the command line: `stream` and `run`.
// Points the client at us by its documented requestMiddleware. Prints one JSON object for the Rust test.
import { fal } from "@fal-ai/client";

const base = process.argv[2];
fal.config({
  credentials: process.env.FAL_KEY ?? "any:thing",
  requestMiddleware: async (request) => ({
    ...request,
    url: request.url
      .replace(/^https:\/\/queue\.fal\.run/, `${base}/queue`)
      .replace(/^https:\/\/fal\.run/, base),
  }),
});

const input = { prompt: "a red heart on a white background", seed: 1, enable_safety_checker: true };

const stream = await fal.stream("glimpse/demo", { input });
const events = [];
for await (const event of stream) events.push(event);
const last = await stream.done();

const run = await fal.run("glimpse/demo", { input });

const refusal = await fal.run("glimpse/demo", { input: { prompt: "x", num_inference_steps: 51 } }).then(
  () => null,
  (error) => ({ name: error.constructor.name, status: error.status, fields: error.fieldErrors.map((e) => e.loc) }),
);

console.log(JSON.stringify({
  events: events.map((event) => event.image.url),
  last: { url: last.image.url, seed: last.seed },
  run: { url: run.data.image.url, images: run.data.images?.length, seed: run.data.seed, requestId: run.requestId },
  refusal,
}));

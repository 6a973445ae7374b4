// fal's own JavaScript client, unmodified, against the queue of the server named on the command line.
// Prints one JSON object for the Rust test.
import { ApiError, ValidationError, createFalClient, fal } from "@fal-ai/client";

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

const app = "glimpse/demo";
const unknown = "018f2f6e-7b7e-7c4e-9a4e-3f1e2d3c4b0a";
const input = { prompt: "a red heart on a white background", seed: 1 };
// Runs until it is cancelled: longer than the server waits before it ends requests that start too late.
const long = { ...input, num_inference_steps: 50, num_images: 4, image_size: { width: 384, height: 384 } };

const shown = ({ data, requestId }) => ({ url: data.images[0].url, seed: data.seed, prompt: data.prompt, requestId });
const refused = (promise) =>
  promise.then(
    () => null,
    (error) => ({
      kind: error instanceof ValidationError ? "ValidationError" : error instanceof ApiError ? "ApiError" : `${error}`,
      status: error.status,
      fields: error instanceof ValidationError ? error.fieldErrors.map((entry) => entry.loc) : null,
      requestId: error.requestId,
      isUserTimeout: error.isUserTimeout,
    }),
  );
const subscribe = async (options) => {
  const updates = [];
  const result = await fal.subscribe(app, {
    input,
    logs: true,
    onQueueUpdate: (update) => updates.push(structuredClone(update)),
    ...options,
  });
  return {
    ...shown(result),
    statuses: updates.map((update) => update.status),
    lines: updates.at(-1).logs.map((line) => line.message),
  };
};
const until = async (requestId, status) => {
  let update;
  do update = await fal.queue.status(app, { requestId, logs: true });
  while (update.status !== status);
  return update;
};

const polling = await subscribe({ mode: "polling", pollInterval: 50 });
const streaming = await subscribe({ mode: "streaming" });

const submitted = await fal.queue.submit(app, { input, priority: "low" });
const early = await refused(fal.queue.result(app, { requestId: submitted.request_id }));
const completed = await until(submitted.request_id, "COMPLETED");
const result = shown(await fal.queue.result(app, { requestId: submitted.request_id }));
const done = await refused(fal.queue.cancel(app, { requestId: submitted.request_id }));

const running = await fal.queue.submit(app, { input: long });
await until(running.request_id, "IN_PROGRESS");
const waiting = await fal.queue.submit(app, { input });
const late = await fal.queue.submit(app, { input, startTimeout: 1.1 });
const followed = await fal.queue.streamStatus(app, { requestId: waiting.request_id, logs: true });
await fal.queue.cancel(app, { requestId: waiting.request_id });
const last = await followed.done();
await until(late.request_id, "COMPLETED");
const timeout = await refused(fal.queue.result(app, { requestId: late.request_id }));
await fal.queue.cancel(app, { requestId: running.request_id });

// The same client through its proxyUrl, with nothing but the address.
const proxied = createFalClient({ credentials: process.env.FAL_KEY ?? "any:thing", proxyUrl: { url: `${base}/api/fal/proxy`, when: "always" } });
const stream = await proxied.stream(app, { input });
const events = [];
for await (const event of stream) events.push(event.image.url);
const proxy = {
  run: shown(await proxied.run(app, { input })),
  subscribe: shown(await proxied.subscribe(app, { input, mode: "streaming" })),
  events,
  refused: await refused(proxied.queue.submit(app, { input: { prompt: "" } })),
};

const wrong = { prompt: "x", num_inference_steps: 51, image_size: "huge" };
console.log(JSON.stringify({
  polling,
  streaming,
  proxy,
  submitted,
  early,
  completed,
  result,
  done,
  timeout,
  last,
  cancelled: {
    queued: await refused(fal.queue.result(app, { requestId: waiting.request_id })),
    running: await refused(fal.queue.result(app, { requestId: running.request_id })),
  },
  refused: {
    submit: await refused(fal.queue.submit(app, { input: wrong })),
    subscribe: await refused(fal.subscribe(`${app}/inpainting`, { input })),
  },
  unknown: {
    status: await refused(fal.queue.status(app, { requestId: unknown })),
    result: await refused(fal.queue.result(app, { requestId: unknown })),
    cancel: await refused(fal.queue.cancel(app, { requestId: unknown })),
  },
}));

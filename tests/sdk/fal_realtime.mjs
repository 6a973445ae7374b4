// fal's own JavaScript client, unmodified: realtime. It always connects to fal.run, so a subclass of the global
// WebSocket gives the address of the server named on the command line. Prints one JSON object for the Rust test.
import { fal } from "@fal-ai/client";

const base = process.argv[2];
fal.config({ proxyUrl: { url: `${base}/api/fal/proxy`, when: "always" } });
globalThis.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url.replace(/^wss:\/\/fal\.run/, base.replace(/^http/, "ws")));
  }
};

const results = [];
const errors = [];
const connect = (options) =>
  new Promise((resolve, reject) => {
    const connection = fal.realtime.connect("glimpse/demo", {
      ...options,
      throttleInterval: 0,
      onResult: (result) => {
        results.push(result);
        resolve(connection);
      },
      onError: (error) => {
        // Without a body it is the end of a connection that the client itself has closed.
        if (!error.body) return;
        errors.push(error.body);
        resolve(connection);
      },
    });
    connection.send(options.input);
    setTimeout(() => reject(new Error("no answer within 60 s")), 60_000).unref();
  });

const input = { prompt: "a red heart on a white background", seed: 1, request_id: "one" };
// With the client's own way to get a token, and with a token of the caller.
(await connect({ connectionKey: "own", maxBuffering: 2, input })).close();
(await connect({ connectionKey: "callers", tokenProvider: async () => "token", input: { prompt: "" } })).close();

const [{ images, seed, request_id }] = results;
const bytes = Buffer.from(images[0].content).toString("base64");
console.log(JSON.stringify({
  url: `data:${images[0].content_type};base64,${bytes}`,
  seed,
  request_id,
  results: results.length,
  errors: errors.map(({ error, detail }) => ({ error, fields: detail?.map((entry) => entry.loc) })),
}));
process.exit(0);

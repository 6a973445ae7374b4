// Server-sent events, read with fetch: the browser's EventSource cannot send a key, and does not say why it was refused.
// After a lost connection it asks again, and names the last event that it has, so nothing is told twice.

import { ask, nextKey } from "/playground/key.js";

/** The server says something at least every 15 s. After this time in silence the connection counts as lost. */
const SILENCE = 40_000;
const LONGEST_WAIT = 5_000;

/**
 * Follows the events of `path`. It calls `hear.event(kind, data)` for each, `hear.lost()` when the connection is lost,
 * `hear.found()` when it is back, and `hear.refused(answer)` when the server will not tell these events: then it stops.
 */
export class Events {
  #hear;
  #cursor = "";
  #retry = 1000;
  #closed = false;
  #connection = null;
  #wake = () => {};

  constructor(path, hear) {
    this.#hear = hear;
    addEventListener("online", this.#now);
    this.#run(path);
  }

  close() {
    this.#closed = true;
    removeEventListener("online", this.#now);
    this.#connection?.abort();
    this.#wake();
  }

  #now = () => this.#wake();

  async #run(path) {
    for (let failures = 0; !this.#closed; failures += 1) {
      this.#connection = new AbortController();
      const headers = this.#cursor === "" ? {} : { "last-event-id": this.#cursor };
      const answer = await ask(path, { headers, signal: this.#connection.signal }).catch(() => null);
      if (this.#closed) {
        return;
      }
      if (answer?.status === 200) {
        failures = 0;
        this.#hear.found();
        await this.#read(answer.body).catch(() => null);
      } else if (answer?.status === 401) {
        await nextKey();
        continue;
      } else if (answer !== null && answer.status !== 429 && answer.status < 500) {
        this.#closed = true;
        removeEventListener("online", this.#now);
        this.#hear.refused(answer);
        return;
      }
      if (!this.#closed) {
        this.#hear.lost();
        await this.#pause(Math.min(this.#retry * 2 ** Math.min(failures, 4), LONGEST_WAIT));
      }
    }
  }

  #pause(time) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, time);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    let silence;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => this.#connection.abort(), SILENCE);
    };
    try {
      for (;;) {
        listen();
        const { done, value } = await reader.read();
        if (done || this.#closed) {
          return;
        }
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
        blocks.forEach((block) => this.#block(block));
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #block(block) {
    let kind = "message";
    const data = [];
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      const [name, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
      if (name === "event") {
        kind = value;
      } else if (name === "data") {
        data.push(value);
      } else if (name === "id") {
        this.#cursor = value;
      } else if (name === "retry") {
        this.#retry = Number(value) || this.#retry;
      }
    }
    if (data.length > 0 && !this.#closed) {
      this.#hear.event(kind, JSON.parse(data.join("\n")));
    }
  }
}

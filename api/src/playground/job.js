// One job, from the button to its end. The job's id stands in the address, so a reload follows the same job and sends
// nothing again. This module talks to the server, and tells what happens; others show it.

import { Events } from "/playground/events.js";
import { ask, send } from "/playground/key.js";
import { AWAY, refusalOf } from "/playground/refusal.js";

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The id in the address of the page, or null. */
export function idInAddress() {
  const id = location.hash.slice(1);
  return ID.test(id) ? id : null;
}

export function nameInAddress(id) {
  history.replaceState(null, "", id === null ? location.pathname : `#${id}`);
}

/**
 * Tells `queued`, `started`, `preview`, `completed`, `failed` and `cancelled` as the protocol does, and `sending`,
 * `sent`, `refused` (a refusal), `lost`, `found`, `unknown`, `asked` (to `cancel` or `finish`) and `unasked` (why not).
 */
export class Job extends EventTarget {
  id = null;
  /** Whether it has not ended. */
  runs = true;
  #events = null;

  /** Sends the request. `once` is a random text: the server makes one job for it, also if this is sent again. */
  async submit(request, once) {
    this.#tell("sending");
    const answer = await send("/v1/jobs", request, { "idempotency-key": once }).catch(() => null);
    if (!answer?.ok) {
      this.#end("refused", answer === null ? AWAY : await refusalOf(answer));
      return;
    }
    const { id } = await answer.json();
    nameInAddress(id);
    this.#tell("sent", { id });
    this.follow(id);
  }

  /** Follows a job that exists. */
  follow(id) {
    this.id = id;
    this.#events = new Events(`/v1/jobs/${id}/events`, {
      event: (kind, data) => {
        const last = kind === "completed" || kind === "failed" || kind === "cancelled";
        last ? this.#end(kind, data) : this.#tell(kind, data);
      },
      lost: () => this.#tell("lost"),
      found: () => this.#tell("found"),
      refused: async (answer) => this.#end("unknown", await refusalOf(answer)),
    });
  }

  async cancel() {
    this.#tell("asked", { to: "cancel" });
    await this.#order("cancel", `/v1/jobs/${this.id}`, "DELETE");
  }

  /** Asks for the picture as it is now. */
  async finish() {
    this.#tell("asked", { to: "finish" });
    await this.#order("finish", `/v1/jobs/${this.id}/finish`, "POST");
  }

  async #order(to, path, method) {
    const answer = await ask(path, { method }).catch(() => null);
    if (answer?.ok || !this.runs) {
      return; // The events tell the rest.
    }
    const refusal = answer === null ? AWAY : await refusalOf(answer);
    const old = to === "finish" && (refusal.status === 404 || refusal.status === 405);
    this.#tell("unasked", { to, text: old ? "This server cannot finish a picture early." : refusal.text });
  }

  #tell(kind, data = {}) {
    this.dispatchEvent(new CustomEvent(kind, { detail: data }));
  }

  #end(kind, data) {
    if (this.runs) {
      this.runs = false;
      this.#events?.close();
      this.#tell(kind, data);
    }
  }
}

// Requests with a key. The browser's EventSource cannot send one, so Events reads the same stream with fetch, and resumes
// it in the same way. The key stays in this tab: it is gone when the tab is closed.

const PLACE = "glimpse-key";

export const key = {
  get: () => sessionStorage.getItem(PLACE) ?? "",
  set: (value) => sessionStorage.setItem(PLACE, value.trim()),
};

/** fetch, with the key if there is one. */
export function ask(path, options = {}) {
  const own = key.get() === "" ? {} : { authorization: `Bearer ${key.get()}` };
  return fetch(path, { ...options, headers: { ...options.headers, ...own } });
}

/** The events of a path: an EventSource, or what does the same with a key. */
export function eventsOf(path) {
  return key.get() === "" ? new EventSource(path) : new Events(path);
}

class Events extends EventTarget {
  readyState = EventSource.CONNECTING;
  onerror = null;
  #stop = new AbortController();
  #cursor = "";
  #wait = 1000;

  constructor(path) {
    super();
    this.#read(path);
  }

  close() {
    this.readyState = EventSource.CLOSED;
    this.#stop.abort();
  }

  async #read(path) {
    while (this.readyState !== EventSource.CLOSED) {
      const headers = this.#cursor === "" ? {} : { "last-event-id": this.#cursor };
      const answer = await ask(path, { headers, signal: this.#stop.signal }).catch(() => null);
      if (answer !== null && answer.status !== 200) {
        // As EventSource: only a lost connection is tried again.
        this.close();
      } else if (answer !== null) {
        this.readyState = EventSource.OPEN;
        await this.#all(answer.body.pipeThrough(new TextDecoderStream()).getReader()).catch(() => null);
      }
      if (this.#stop.signal.aborted && answer?.status === 200) {
        return;
      }
      if (this.readyState !== EventSource.CLOSED) {
        this.readyState = EventSource.CONNECTING;
      }
      this.onerror?.();
      await new Promise((resume) => setTimeout(resume, this.#wait));
    }
  }

  async #all(reader) {
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      blocks.forEach((block) => this.#block(block));
    }
  }

  #block(block) {
    let kind = "message";
    const data = [];
    for (const line of block.split("\n")) {
      const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")];
      if (name === "event") {
        kind = value;
      } else if (name === "data") {
        data.push(value);
      } else if (name === "id") {
        this.#cursor = value;
      } else if (name === "retry") {
        this.#wait = Number(value);
      }
    }
    if (data.length > 0) {
      this.dispatchEvent(new MessageEvent(kind, { data: data.join("\n") }));
    }
  }
}

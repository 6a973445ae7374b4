// The pictures that this browser keeps, in its own database, and the requests of jobs that still run. The newest pictures
// stay. Where the browser keeps nothing (a private window, a full disk), they live as long as the page.

const NAME = "glimpse";
const MOST_PICTURES = 200;
const MOST_BYTES = 512 << 20;
const MOST_REQUESTS = 20;

/** What could not be kept. */
const memory = { pictures: new Map(), requests: new Map() };

const opened = new Promise((resolve) => {
  try {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("pictures", { keyPath: "id" }).createIndex("at", "at");
      request.result.createObjectStore("requests", { keyPath: "id" }).createIndex("at", "at");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
    request.onblocked = () => resolve(null);
  } catch {
    resolve(null);
  }
});

/** Runs `work` on a store. Resolves to the result of the request that it returns. */
async function within(store, mode, work) {
  const database = await opened;
  if (database === null) {
    throw new Error("no database");
  }
  const transaction = database.transaction(store, mode);
  const request = work(transaction.objectStore(store));
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
  return request?.result;
}

async function keep(store, record) {
  try {
    await within(store, "readwrite", (place) => place.put(record));
  } catch {
    memory[store].set(record.id, record);
  }
}

/** Deletes the oldest records beyond the limits. */
async function limit(store, most, bytes) {
  let [count, sum] = [0, 0];
  await within(store, "readwrite", (place) => {
    place.index("at").openCursor(null, "prev").onsuccess = ({ target: { result: cursor } }) => {
      if (cursor !== null) {
        count += 1;
        sum += cursor.value.bytes ?? 0;
        if (count > most || sum > bytes) {
          cursor.delete();
        }
        cursor.continue();
      }
    };
  }).catch(() => null);
}

/** Keeps a picture: `{id, job, index, of, at, app, request, from, seed, blob, width, height}`. */
export async function keepPicture(record) {
  await keep("pictures", { ...record, bytes: record.blob.size + JSON.stringify(record.request ?? "").length });
  await limit("pictures", MOST_PICTURES, MOST_BYTES);
}

/** The pictures, newest first. */
export async function keptPictures() {
  const stored = await within("pictures", "readonly", (place) => place.getAll()).catch(() => []);
  return [...stored, ...memory.pictures.values()].sort((a, b) => b.at - a.at || a.index - b.index);
}

export async function dropPicture(id) {
  memory.pictures.delete(id);
  await within("pictures", "readwrite", (place) => place.delete(id)).catch(() => null);
}

export async function dropAllPictures() {
  memory.pictures.clear();
  await within("pictures", "readwrite", (place) => place.clear()).catch(() => null);
}

/** Keeps the request of a job: `{id, at, request, from}`. */
export async function keepRequest(record) {
  await keep("requests", record);
  await limit("requests", MOST_REQUESTS, Infinity);
}

export async function keptRequest(id) {
  const stored = await within("requests", "readonly", (place) => place.get(id)).catch(() => undefined);
  return stored ?? memory.requests.get(id) ?? null;
}

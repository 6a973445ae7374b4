// The bytes of pictures: data URIs, blobs and files.

import { ask } from "/playground/key.js";

/** The bytes of a data URI. The page may not fetch one: its policy allows only this server. */
export function blobOf(uri) {
  const [head, body] = [uri.slice(5, uri.indexOf(",")), uri.slice(uri.indexOf(",") + 1)];
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.split(";")[0] });
}

/** The data URI of a blob. */
export function uriOf(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** The bytes of a final picture. One that is kept outside of the event comes through this server. */
export async function bytesOf(job, { url }, index) {
  if (url.startsWith("data:")) {
    return blobOf(url);
  }
  const answer = await ask(`/v1/jobs/${job}/image?index=${index}`);
  if (!answer.ok) {
    throw new Error(`the server answered with the status ${answer.status}`);
  }
  return answer.blob();
}

/** The name of a file for a picture. */
export function fileName({ seed, index, of, blob }) {
  const ending = blob.type.split("/")[1]?.replace("jpeg", "jpg") ?? "jpg";
  return `glimpse-${seed}${of > 1 ? `-${index + 1}` : ""}.${ending}`;
}

/** Gives the browser a file to keep. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

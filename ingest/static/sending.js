// Photos go up a few at a time, each as its own request; a refused one does not stop the others.

import { insist, Problem, sleep } from "./http.js";

const AT_ONCE = 3;
const TRIES = 5;

// With these the whole job is over, not one photo.
export const GONE = new Set(["unknown-job", "job-expired", "job-gone", "job-sealed"]);

// A file that was moved or changed since it was chosen fails like a broken connection, but for ever.
async function requireReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem(0, "unreadable-file", "The file was moved or changed after it was chosen.");
  }
}

// Return what was refused, as Problems.
export async function sendAll(view, statusUrl, files) {
  const refusals = [];
  let next = 0;
  let over = false;
  const lane = async () => {
    while (next < files.length && !over) {
      const n = next;
      next += 1;
      const file = files[n];
      const headers = { "x-filename": encodeURIComponent(file.name.toWellFormed?.() ?? file.name), "content-type": "application/octet-stream" };
      try {
        await insist("PUT", `${statusUrl}/photos/${n}`, file, {
          headers,
          onProgress: (share) => view.tiles.uploading(n, share),
          onWait: async () => {
            view.tiles.uploading(n, 0, "Waiting to send it again");
            await requireReadable(file);
          },
        });
        view.sent(n);
      } catch (problem) {
        over = !(problem instanceof Problem) || GONE.has(problem.code);
        if (over) throw problem;
        refusals.push(problem);
        view.refuse(n, problem.code, problem.message);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return refusals;
}

// Some of the refused are in the job, as failed, and some are not: the server knows how many it holds.
export async function seal(statusUrl, sent, refusals) {
  const headers = { "content-type": "application/json" };
  let total = sent;
  for (let tries = 1; ; tries += 1) {
    try {
      await insist("POST", `${statusUrl}/seal`, JSON.stringify({ total }), { headers });
      return;
    } catch (problem) {
      if (problem.code !== "wrong-total" || !refusals.length || tries === TRIES) throw problem;
    }
    if (tries > 1) await sleep(0.5); // the status was told before it knew of the last one
    const status = await insist("GET", statusUrl, null, { headers: { accept: "application/json" } });
    total = status.photos.length;
    if (!total) throw refusals[0];
  }
}

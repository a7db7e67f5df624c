// Requests that are worth repeating are repeated; what the server refuses becomes a Problem.

export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const REPEATED = new Set([0, 408, 429, 502, 503, 504]);
const LONGEST_PAUSE = 15;

export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// An XMLHttpRequest, since fetch does not tell how much of an upload has left.
export function send(method, url, body, { headers = {}, onProgress } = {}) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (onProgress) {
      request.upload.onprogress = (event) => onProgress(event.loaded / (event.total || 1));
    }
    request.onloadend = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // An answer without JSON is told by its status alone.
      }
      done({ status: request.status, answer, retryAfter: Number(request.getResponseHeader?.("retry-after")) || 0 });
    };
    request.send(body);
  });
}

export async function insist(method, url, body, options = {}) {
  for (let tries = 0; ; tries += 1) {
    const { status, answer, retryAfter } = await send(method, url, body, options);
    if (status >= 200 && status < 300) return answer;
    if (!REPEATED.has(status) || tries + 1 >= (options.tries ?? 41)) {
      throw new Problem(status, answer.code ?? "unreachable", answer.detail ?? "The server cannot be reached.");
    }
    await options.onWait?.();
    const pause = Math.min(LONGEST_PAUSE, Math.max(retryAfter, 0.5 * 2 ** Math.min(tries, 5)));
    await sleep(pause * (0.75 + Math.random() / 2));
  }
}

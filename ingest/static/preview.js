// What the options do, seen on the first photo that was chosen, or on one that the server draws.

import { sleep } from "./http.js";
import { recipe } from "./recipe.js";

const PAUSE = 0.35;
const BUSY = new Set(["previews-busy", "too-many-previews"]);

const form = document.getElementById("upload");
const room = document.getElementById("preview");
const image = document.createElement("img");
const most = Number(room.dataset.bytes);
let chosen = [];
let asking = new AbortController();

function say(words, { stale = false } = {}) {
  room.classList.toggle("stale", stale);
  const place = document.getElementById("preview-says");
  if (place.textContent !== words) place.textContent = words;
}

const photo = () => chosen.find((file) => file.size > 0 && file.size <= most);

// What would be sent, and a text in place of each that is not written yet, so that there is a mark to see.
function wanted() {
  const told = recipe(form);
  for (const label of told.getAll("operations")) {
    const text = form.querySelector(`[name="${label}.text"]`);
    const bare = text?.placeholder && !told.has(`${label}.text`) && told.get(`${label}.logo`) !== "true";
    if (bare) told.append(`${label}.text`, text.placeholder);
  }
  const file = photo();
  if (file) told.append("file", file, file.name);
  return told;
}

function caption(answer) {
  const of = photo()?.name ?? "a photo of ours";
  const [width, height] = ["x-result-width", "x-result-height"].map((name) => answer.headers.get(name));
  return `Preview of ${of}: ${width} × ${height} pixels`;
}

async function show(answer, signal) {
  const picture = await answer.blob();
  if (signal.aborted) return;
  URL.revokeObjectURL(image.src);
  image.width = Number(answer.headers.get("x-width"));
  image.height = Number(answer.headers.get("x-height"));
  image.alt = `${photo()?.name ?? "A stock photo"} with the chosen options`;
  image.src = URL.createObjectURL(picture);
  room.prepend(image);
  say(caption(answer));
}

async function ask(signal) {
  const told = wanted();
  if (!told.has("operations")) {
    say("Choose what to do, and see it here.", { stale: true });
    return;
  }
  const total = Math.max(1, chosen.length);
  const answer = await fetch(`/preview?total=${total}`, { method: "POST", body: told, headers: { accept: "image/*" }, signal });
  if (answer.ok) {
    await show(answer, signal);
    return;
  }
  const { code, detail } = await answer.json();
  if (BUSY.has(code)) {
    await sleep(Number(answer.headers.get("retry-after")) || 2);
    if (!signal.aborted) await ask(signal);
  } else {
    say(detail, { stale: true });
  }
}

// A moment after the last change; what was asked before it is not waited for.
async function renew() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  await sleep(PAUSE);
  if (signal.aborted || form.hidden) return;
  room.ariaBusy = "true";
  try {
    await ask(signal);
  } catch {
    if (!signal.aborted) say("The server cannot be reached; there is no preview.", { stale: true });
  } finally {
    if (!signal.aborted) room.ariaBusy = "false";
  }
}

form.addEventListener("chosen", (event) => { chosen = event.detail; renew(); });
form.addEventListener("input", renew);
form.addEventListener("submit", () => { asking.abort(); room.ariaBusy = "false"; });
room.hidden = false;
renew();

// The upload page: choose, say what to do, and watch results while the rest goes up.

import { insist, Problem } from "./http.js";
import { JobView } from "./jobview.js";
import { link, recipe, remember, restore } from "./recipe.js";
import { GONE, seal, sendAll } from "./sending.js";
import { show, watch } from "./steps.js";

const PREVIEWS = 60;
const PHOTO = /\.(jpe?g|png|apng|webp|avif|hei[cf]|gif|tiff?|bmp)$/i;

const form = document.getElementById("upload");
const input = document.getElementById("files");
const drop = document.getElementById("drop");
const limits = { files: Number(form.dataset.files), bytes: Number(form.dataset.jobBytes) };
let chosen = [];

document.documentElement.classList.add("scripted");
input.required = false;

function say(problem) {
  const place = document.getElementById("form-error");
  place.hidden = !problem;
  place.textContent = problem ?? "";
}

function choose(files) {
  const photos = [...files].filter((file) => file.type.startsWith("image/") || PHOTO.test(file.name) || file.size === 0);
  const others = files.length - photos.length;
  const tooMany = chosen.length + photos.length - limits.files;
  chosen = [...chosen, ...photos].slice(0, limits.files);
  say(
    tooMany > 0
      ? `A job may hold ${limits.files} photos; ${tooMany} left out.`
      : others
        ? `${others} file${others > 1 ? "s" : ""} left out: not a photo.`
        : null,
  );
  preview();
}

const bytesOf = (files) => files.reduce((sum, file) => sum + file.size, 0);

function preview() {
  const list = document.getElementById("previews");
  for (const picture of list.querySelectorAll("img")) URL.revokeObjectURL(picture.src);
  list.replaceChildren(
    ...chosen.slice(0, PREVIEWS).map((file) => {
      const place = document.createElement("li");
      const picture = document.createElement("img");
      picture.alt = file.name;
      picture.title = file.name;
      picture.loading = "lazy";
      picture.decoding = "async";
      picture.addEventListener("error", () => {
        const name = document.createElement("bdi");
        name.textContent = file.name;
        picture.replaceWith(name);
        place.className = "unseen";
      });
      picture.src = URL.createObjectURL(file);
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove ${file.name}`);
      remove.addEventListener("click", () => {
        chosen = chosen.filter((other) => other !== file);
        preview();
      });
      place.append(picture, remove);
      return place;
    }),
  );
  const more = chosen.length - PREVIEWS;
  document.getElementById("previews-more").textContent = more > 0 ? `and ${more} more` : "";
  const megabytes = bytesOf(chosen) / 1024 ** 2;
  document.getElementById("chosen-count").textContent =
    `${chosen.length} photo${chosen.length === 1 ? "" : "s"}, ${megabytes.toFixed(1)} MB`;
  document.getElementById("chosen").hidden = chosen.length === 0;
  form.dispatchEvent(new CustomEvent("chosen", { detail: chosen }));
}

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((done, failed) => { entry.file(done, failed); }));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, failed) => { reader.readEntries(done, failed); });
      if (!some.length) return;
      for (const child of some) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return found.filter((file) => PHOTO.test(file.name));
}

async function submit(event) {
  event.preventDefault();
  say(null);
  if (!chosen.length) {
    say("Choose at least one photo first.");
    return;
  }
  if (bytesOf(chosen) > limits.bytes) {
    say(`A job may hold ${Math.floor(limits.bytes / 1024 ** 2)} MB in all; leave some photos out.`);
    return;
  }
  const button = document.getElementById("send");
  button.disabled = true;
  const warn = (leaving) => { leaving.preventDefault(); };
  let view = null;
  const here = window.location.href;
  try {
    const headers = { accept: "application/json", "idempotency-key": newKey() };
    const opened = await insist("POST", "/jobs", recipe(form), { headers });
    remember(form);
    const files = chosen;
    const section = document.getElementById("job");
    window.addEventListener("beforeunload", warn);
    history.replaceState(null, "", opened.status_url);
    form.hidden = true;
    section.hidden = false;
    section.querySelector("h1").focus();
    view = new JobView(section);
    view.onLeave = () => window.removeEventListener("beforeunload", warn);
    view.sends(files);
    view.follow(opened.status_url);
    const refusals = await sendAll(view, opened.status_url, files);
    await seal(opened.status_url, files.length, refusals);
    view.sentAll();
  } catch (problem) {
    if (view?.leaving) return;
    view?.stop();
    history.replaceState(null, "", here);
    button.disabled = false;
    document.getElementById("job").hidden = true;
    form.hidden = false;
    if (!(problem instanceof Problem)) {
      say("Something went wrong on this page.");
      throw problem;
    }
    say(GONE.has(problem.code) ? "The job was deleted in the meantime; send the photos again." : problem.message);
  } finally {
    window.removeEventListener("beforeunload", warn);
  }
}

// crypto.randomUUID exists only on https and localhost; a service in the house may be neither.
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Named as percent where the number itself would mean little.
function tell(range) {
  const text = `${(range.value * 100).toFixed(1).replace(/\.0$/, "")} %`;
  range.ariaValueText = text;
  form.querySelector(`output[for="${range.id}"]`).textContent = text;
}

// A swatch stands beside a colour's field: what it shows is what the field says, or what it said last.
function pair(swatch) {
  const { value } = document.getElementById(swatch.dataset.of);
  if (/^#[0-9a-f]{6}$/i.test(value)) swatch.value = value.toLowerCase();
  swatch.hidden = false;
}

function draw() {
  for (const swatch of form.querySelectorAll('input[type="color"]')) pair(swatch);
  for (const range of form.querySelectorAll('input[type="range"]')) tell(range);
}

async function choosePreset(event) {
  const preset = event.target.closest("a");
  if (!preset || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    await show(form, preset.href);
  } catch {
    say("The preset cannot be shown now; try again.");
    return;
  }
  say(null);
  history.replaceState(null, "", preset.href);
  for (const each of document.querySelectorAll("#presets a")) each.ariaCurrent = each === preset ? "true" : null;
  document.getElementById("said").textContent = `The form is filled with ${preset.textContent.trim()}.`;
}

// Without https there is no clipboard: then the link is there to be taken.
async function share(event) {
  const place = event.target.closest("p").querySelector("input");
  place.value = link(form);
  place.hidden = Boolean(navigator.clipboard);
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(place.value);
    event.target.textContent = "Copied";
    setTimeout(() => { event.target.textContent = "Copy a link to these settings"; }, 2000);
  } else {
    place.select();
  }
}

watch(form);
restore(form);
draw();
form.addEventListener("redrawn", draw);
form.addEventListener("input", ({ target }) => {
  if (target.type === "range") tell(target);
  else if (target.type === "color") document.getElementById(target.dataset.of).value = target.value;
  else if (target.id) form.querySelectorAll(`input[data-of="${CSS.escape(target.id)}"]`).forEach(pair);
});
document.getElementById("presets")?.addEventListener("click", choosePreset);
document.getElementById("share").hidden = false;
document.querySelector("#share button").addEventListener("click", share);

const folder = Object.assign(document.createElement("input"), { type: "file", multiple: true, webkitdirectory: true });
document.getElementById("folder").hidden = !("webkitdirectory" in input && matchMedia("(hover: hover)").matches);
document.getElementById("folder").addEventListener("click", () => folder.click());
for (const source of [input, folder]) {
  source.addEventListener("change", () => { choose(source.files); source.value = ""; });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length && !form.hidden) choose(event.clipboardData.files);
});
document.getElementById("chosen-clear").addEventListener("click", () => { chosen = []; preview(); });
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
document.addEventListener("drop", async (event) => {
  if (event.dataTransfer && !form.hidden) choose(await filesOf(event.dataTransfer));
});
form.addEventListener("submit", submit);

// What the form says: told to the server, put into a link, and remembered by this browser for the next time.

import { another, steps, tick } from "./steps.js";

const KEPT = "ebbmark-form";

const isBox = (field) => field.type === "radio" || field.type === "checkbox";

// The box that chooses an operation and the hidden "no" before a box are no fields of it.
const fieldsOf = (step) => [...step.querySelectorAll(".parameters [name]")].filter((field) => field.type !== "hidden");

function* said(step) {
  for (const field of fieldsOf(step)) {
    if (field.type === "file" || (field.type === "radio" && !field.checked)) continue;
    yield [field.name, field.type === "checkbox" ? String(field.checked) : field.value];
  }
}

// The ticked operations in their order, with their own fields and nothing of the others.
export function recipe(form) {
  const told = new FormData();
  for (const step of steps(form)) {
    const { label } = step.dataset;
    told.append("operations", label);
    for (const [name, value] of said(step)) if (value !== "") told.append(name, value);
    const file = step.querySelector('input[type="file"]')?.files[0];
    if (!file) continue;
    told.append("logo", file);
    if (!told.has(`${label}.logo`)) told.append(`${label}.logo`, "true");
  }
  const name = form.querySelector("#name");
  if (name?.value) told.append("name", name.value);
  return told;
}

// The same as an address: no file is in it, and nothing that a recipe would say by itself.
export function link(form) {
  const chosen = steps(form);
  const query = new URLSearchParams({ operations: chosen.map((step) => step.dataset.label).join(",") });
  for (const step of chosen) {
    const defaults = JSON.parse(step.dataset.defaults);
    for (const [name, value] of said(step)) {
      const usual = defaults[name.slice(step.dataset.label.length + 1)];
      if (value !== "" && value !== String(usual) && Number(value) !== usual) query.append(name, value);
    }
  }
  const called = form.querySelector("#name")?.value;
  if (called) query.append("name", called);
  return new URL(`/?${query}`, window.location.href).href;
}

export function remember(form) {
  const kept = { order: steps(form).map((step) => step.dataset.label), fields: {} };
  for (const step of form.querySelectorAll(".operation")) {
    for (const [name, value] of said(step)) kept.fields[name] = value;
  }
  try {
    localStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    // A browser that keeps nothing is a choice, too.
  }
}

// A page that was opened with settings shows those.
export function restore(form) {
  if (form.querySelector("[data-given]")) return;
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEPT));
  } catch {
    // As above.
  }
  if (!Array.isArray(kept?.order)) return;
  for (const step of steps(form)) tick(step, false);
  for (const label of kept.order) {
    const step = form.querySelector(`.operation[data-label="${CSS.escape(label)}"]`) ?? another(form, label);
    if (step) tick(step, true, { last: true });
  }
  for (const step of form.querySelectorAll(".operation")) {
    for (const field of fieldsOf(step)) {
      const value = kept.fields?.[field.name];
      if (typeof value !== "string" || field.type === "file") continue;
      if (isBox(field)) field.checked = field.value === value;
      else field.value = value;
    }
  }
}

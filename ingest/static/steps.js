// The steps of the form: what is ticked stands above what is not, in the order in which it will be done.

const list = (form, which) => form.querySelector(`[data-steps="${which}"]`);
const box = (step) => step.querySelector('[name="operations"]');
const operations = (inside) => [...inside.children].filter((each) => each.matches(".operation"));

// The ticked ones, in their order.
export const steps = (form) => operations(list(form, "chosen")).filter((step) => box(step).checked);

// Goes before the first one that comes later by nature, or to the end.
function place(step, { last = false } = {}) {
  const chosen = list(step.closest("form"), "chosen");
  const later = operations(chosen).find((other) => Number(other.dataset.rank) > Number(step.dataset.rank));
  chosen.insertBefore(step, last ? null : (later ?? null));
}

// What is unticked stays where it is, so that nothing jumps away under a finger.
export function tick(step, ticked, where) {
  box(step).checked = ticked;
  if (ticked) place(step, where);
}

// One more mark, or none when that label is no mark's; the server drew it for people without scripts.
export function another(form, label = null) {
  const drawn = list(form, "further").querySelector("noscript")?.textContent;
  const taken = new Set([...form.querySelectorAll(".operation")].map((step) => step.dataset.label));
  let number = 2;
  while (taken.has(`watermark.${number}`)) number += 1;
  const wanted = label ?? `watermark.${number}`;
  if (!drawn || !/^watermark\.\d+$/.test(wanted)) return null;
  const [from, to] = [drawn.match(/data-label="watermark\.(\d+)"/)[1], wanted.split(".")[1]];
  const html = drawn.replaceAll(new RegExp(`(watermark[. -])${from}\\b`, "gi"), `$1${to}`);
  const step = new DOMParser().parseFromString(html, "text/html").querySelector(".operation");
  list(form, "further").prepend(document.adoptNode(step));
  return step;
}

// Whoever listens to what is typed hears of this, too.
const changed = (form) => form.dispatchEvent(new Event("input"));

function move(step, forth) {
  const neighbours = operations(step.parentElement);
  const other = neighbours[neighbours.indexOf(step) + (forth ? 1 : -1)];
  if (forth) other?.after(step);
  else other?.before(step);
}

function onClick(form, event) {
  const button = event.target.closest("button");
  if (button && "another" in button.dataset) {
    const step = another(form);
    if (!step) return;
    tick(step, true);
    form.dispatchEvent(new Event("redrawn"));
    step.querySelector("textarea").focus();
    changed(form);
  } else if (button?.dataset.move) {
    move(button.closest(".operation"), button.dataset.move === "down");
    button.focus();
    changed(form);
  }
}

function onChange(event) {
  if (event.target.name !== "operations" || !event.target.checked) return;
  const step = event.target.closest(".operation");
  if (step.parentElement.dataset.steps === "chosen") return;
  place(step);
  event.target.focus();
  step.scrollIntoView({ block: "nearest" });
}

// Begin with what the browser itself ticked again, as it does when one goes back.
export function arrange(form) {
  for (const step of operations(list(form, "further"))) if (box(step).checked) place(step);
  form.querySelector("[data-another]").hidden = !list(form, "further").querySelector("noscript");
}

export function watch(form) {
  form.addEventListener("click", (event) => onClick(form, event));
  form.addEventListener("change", onChange);
  arrange(form);
}

// Show what the server shows at this address in place of the form; the photos and a logo stay chosen.
export async function show(form, address) {
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const shown = page.getElementById("recipe-form");
  // Parsed without scripting, what is in a noscript are elements; here it has to be text.
  for (const each of shown.querySelectorAll("noscript")) each.textContent = each.innerHTML;
  const before = form.querySelector('input[name="logo"]');
  form.querySelector("#recipe-form").replaceWith(document.adoptNode(shown));
  form.querySelector("#name").value = page.getElementById("name").value;
  const logo = form.querySelector('input[name="logo"]');
  if (logo && before?.files.length) logo.files = before.files;
  arrange(form);
  form.dispatchEvent(new Event("redrawn"));
  changed(form);
}

// What the form says: told to the server, and remembered by this browser for the next time.

const KEPT = "ebbmark-recipe";

const chosenFields = (form) => [...form.querySelectorAll('input[name="operations"]:checked')].map((box) => ({
  box,
  fields: [...box.closest(".operation").querySelectorAll(".parameters [name]")],
}));

const isBox = (field) => field.type === "radio" || field.type === "checkbox";

// The chosen operations and their own fields, nothing of the others.
export function recipe(form) {
  const told = new FormData();
  for (const { box, fields } of chosenFields(form)) {
    told.append("operations", box.value);
    for (const field of fields) {
      if (isBox(field) && !field.checked) continue;
      if (field.type === "file") {
        if (field.files[0]) told.append(field.name, field.files[0]);
      } else if (field.value !== "") {
        told.append(field.name, field.value);
      }
    }
  }
  const name = form.querySelector("#name");
  if (name?.value) told.append("name", name.value);
  return told;
}

// Every field that a person can set, under a key that stays the same from visit to visit.
function* settable(form) {
  for (const field of form.querySelectorAll(".operation [name]")) {
    if (field.type === "file" || field.type === "hidden") continue;
    const operation = field.closest(".operation").querySelector('[name="operations"]').value;
    yield [`${operation}.${field.name}${isBox(field) ? `.${field.value}` : ""}`, field];
  }
}

export function remember(form) {
  const kept = {};
  for (const [key, field] of settable(form)) kept[key] = isBox(field) ? field.checked : field.value;
  try {
    localStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    // A browser that keeps nothing is a choice, too.
  }
}

export function restore(form) {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEPT));
  } catch {
    // As above.
  }
  for (const [key, field] of settable(form)) {
    const value = kept?.[key];
    if (isBox(field) && typeof value === "boolean") field.checked = value;
    else if (!isBox(field) && typeof value === "string") field.value = value;
  }
}

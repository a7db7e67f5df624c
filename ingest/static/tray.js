// What failed, in groups that share what happened and what to do; the same as the server draws.

const NAMES = 12; // of one group; the tiles show all

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function faultsOf(photos) {
  const groups = new Map();
  for (const photo of photos) {
    if (photo.state !== "failed") continue;
    const key = JSON.stringify([photo.code, photo.detail]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(photo);
  }
  return [...groups.values()].sort((one, other) => other.length - one.length);
}

function retry(url, photos) {
  const form = element("form", { method: "post", action: url });
  form.dataset.act = "";
  const numbers = element("input", { type: "hidden", name: "photos", value: photos.map((photo) => photo.n).join(",") });
  const label = photos.length > 1 ? `Retry these ${photos.length}` : "Retry this one";
  form.append(numbers, element("button", { type: "submit", className: "quiet", textContent: label }));
  return form;
}

function drawn(photos, url) {
  const [{ code, detail, fix }] = photos;
  const what = element("p", {}, element("strong", { textContent: detail }), " ", element("code", { textContent: code }));
  const names = element("p", { className: "names" });
  for (const photo of photos.slice(0, NAMES)) names.append(element("bdi", { textContent: photo.name }));
  if (photos.length > NAMES) names.append(" ", element("span", { textContent: `and ${photos.length - NAMES} more` }));
  const item = element("li", { className: "fault" }, what, element("p", { className: "fix", textContent: fix }), names);
  const again = photos.filter((photo) => photo.retryable);
  if (url && again.length) item.append(retry(url, again));
  return item;
}

export function drawTray(part, status) {
  const faults = faultsOf(status.photos);
  const drawing = JSON.stringify([faults, status.state]);
  if (part("tray").dataset.drawing === drawing) return; // or a button would go while it is pressed
  part("tray").dataset.drawing = drawing;
  const url = `${status.status_url}/retry`;
  const sealed = status.state === "rendering" || status.state === "complete";
  const again = faults.flat().some((photo) => photo.retryable && photo.code !== "cancelled");
  part("tray").hidden = !faults.length;
  part("tray-title").textContent = `${status.failed} failed`;
  part("retry").hidden = !(sealed && again);
  part("retry").action = url;
  part("otherwise").hidden = !(again && status.state === "complete");
  part("otherwise").href = url;
  const grouped = (photos) => sealed && (faults.length > 1 || photos[0].code === "cancelled");
  part("faults").replaceChildren(...faults.map((photos) => drawn(photos, grouped(photos) && url)));
}

// One tile for each photo; it changes only when its photo does.

const WORDS = { queued: "Waiting", rendering: "Rendering", retrying: "Trying again" };
const LOCAL = 60; // photos shown from the disk while they wait; more of them would fill the memory

export class Tiles {
  constructor(list, template) {
    this.list = list;
    this.template = template;
    this.tiles = new Map();
    this.refused = new Set();
    for (const tile of list.children) this.tiles.set(Number(tile.dataset.n), tile);
  }

  clear() {
    for (const tile of this.tiles.values()) this.dropLocal(tile);
    this.list.replaceChildren();
  }

  tile(n) {
    let tile = this.tiles.get(n);
    if (!tile) {
      tile = this.template.content.firstElementChild.cloneNode(true);
      tile.dataset.n = n;
      this.tiles.set(n, tile);
      let after = this.list.lastElementChild; // photos come nearly in order: the way back is short
      while (after && Number(after.dataset.n) > n) after = after.previousElementSibling;
      if (after) after.after(tile);
      else this.list.prepend(tile);
    }
    return tile;
  }

  name(tile, name) {
    tile.querySelector(".name bdi").textContent = name;
    tile.querySelector(".name").title = name;
  }

  // A photo that is chosen and not yet sent.
  expect(n, file) {
    const tile = this.tile(n);
    tile.dataset.state = "uploading";
    this.name(tile, file.name);
    tile.querySelector(".state").textContent = "Waiting to be sent";
    if (n >= LOCAL) return;
    const picture = document.createElement("img");
    picture.className = "local";
    picture.alt = "";
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.addEventListener("error", () => this.dropLocal(tile));
    picture.src = URL.createObjectURL(file);
    tile.querySelector(".frame").append(picture);
  }

  dropLocal(tile) {
    for (const picture of tile.querySelectorAll("img.local")) {
      picture.remove();
      URL.revokeObjectURL(picture.src);
    }
  }

  uploading(n, share, word = "Uploading") {
    const tile = this.tile(n);
    const bar = tile.querySelector("progress");
    bar.hidden = share >= 1;
    bar.value = share;
    if (tile.dataset.state === "uploading") tile.querySelector(".state").textContent = share < 1 ? word : "Sent";
  }

  refuse(n, code, detail) {
    this.refused.add(n);
    this.uploading(n, 1);
    this.fail(this.tile(n), code, detail);
  }

  fail(tile, code, detail) {
    tile.dataset.state = "failed";
    tile.dataset.code = code;
    this.dropLocal(tile);
    const reason = document.createElement("span");
    reason.className = "reason";
    reason.textContent = detail;
    const stable = document.createElement("code");
    stable.textContent = code;
    tile.querySelector(".state").replaceChildren(reason, stable);
  }

  draw(photo, jobUrl) {
    const tile = this.tile(photo.n);
    const drawing = `${photo.state} ${photo.code ?? ""}`;
    if (tile.dataset.drawn === drawing) return;
    tile.dataset.state = photo.state;
    tile.dataset.drawn = drawing;
    delete tile.dataset.code;
    this.name(tile, photo.name);
    this.offerCancel(tile, photo, jobUrl);
    if (photo.state === "failed") {
      this.fail(tile, photo.code, photo.detail);
    } else if (photo.state === "done") {
      this.finish(tile, photo);
    } else {
      tile.querySelector(".state").textContent = WORDS[photo.state] ?? photo.state;
    }
  }

  offerCancel(tile, photo, jobUrl) {
    const ended = photo.state === "done" || photo.state === "failed";
    const offered = tile.querySelector("form");
    if (ended) offered?.remove();
    if (ended || offered) return;
    const form = document.createElement("form");
    form.method = "post";
    form.action = `${jobUrl}/photos/${photo.n}/cancel`;
    form.className = "cancel";
    form.dataset.act = "";
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = "Cancel";
    button.setAttribute("aria-label", `Cancel ${photo.name}`);
    form.append(button);
    tile.append(form);
  }

  // What the photo told beside its picture, and its result does not.
  removed(photo) {
    if (!photo.removed.length) return [];
    const told = document.createElement("span");
    told.className = "removed";
    told.textContent = `Removed: ${photo.removed.join(", ")}`;
    return [told];
  }

  finish(tile, photo) {
    const link = document.createElement("a");
    link.href = photo.url;
    link.download = "";
    link.textContent = "Download";
    link.setAttribute("aria-label", `Download ${photo.name}`);
    const size = document.createElement("span");
    size.textContent = `${photo.width}×${photo.height}`;
    tile.querySelector(".state").replaceChildren(link, size, ...this.removed(photo));
    const picture = document.createElement("img");
    picture.alt = "";
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.width = photo.width;
    picture.height = photo.height;
    picture.addEventListener("load", () => this.dropLocal(tile));
    picture.src = photo.thumbnail_url;
    tile.querySelector(".frame").append(picture);
  }
}

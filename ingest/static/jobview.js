// The live view of one job: tiles that change only when their photo does, and the way to the end.

import { insist } from "./http.js";

const WORDS = { queued: "Waiting", rendering: "Rendering", retrying: "Trying again", uploading: "Uploading" };
const POLL = 3000;
const LOCAL = 60; // photos shown from the disk while they wait; more of them would fill the memory

export class JobView {
  constructor(root) {
    this.root = root;
    this.tiles = new Map();
    this.status = null;
    this.offset = 0;
    for (const tile of this.part("tiles").children) this.tiles.set(Number(tile.dataset.n), tile);
    this.ended = new AbortController();
    const { signal } = this.ended;
    this.part("delete").addEventListener("submit", (event) => this.confirmDelete(event), { signal });
    if (navigator.clipboard) {
      this.part("copy").hidden = false;
      this.part("copy").addEventListener("click", () => this.copy(), { signal });
    }
    const ticking = setInterval(() => this.countDown(), 1000);
    signal.addEventListener("abort", () => clearInterval(ticking));
  }

  // Forget the job, so that the page can show another one.
  stop() {
    this.ended.abort();
    for (const tile of this.tiles.values()) this.dropLocal(tile);
    this.part("tiles").replaceChildren();
  }

  part(name) {
    return this.root.querySelector(`[data-${name}]`);
  }

  // Tiles

  tile(n) {
    let tile = this.tiles.get(n);
    if (!tile) {
      tile = this.part("template").content.firstElementChild.cloneNode(true);
      tile.dataset.n = n;
      this.tiles.set(n, tile);
      const after = [...this.part("tiles").children].find((other) => Number(other.dataset.n) > n);
      this.part("tiles").insertBefore(tile, after ?? null);
    }
    return tile;
  }

  expect(n, file) {
    const tile = this.tile(n);
    tile.dataset.state = "uploading";
    tile.querySelector(".name bdi").textContent = file.name;
    tile.querySelector(".name").title = file.name;
    tile.querySelector(".state").textContent = WORDS.uploading;
    if (n >= LOCAL) return;
    const picture = document.createElement("img");
    picture.className = "local";
    picture.alt = "";
    picture.loading = "lazy";
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

  uploaded(n, share) {
    const bar = this.tile(n).querySelector("progress");
    if (bar) {
      bar.hidden = share >= 1;
      bar.value = share;
    }
  }

  refuse(n, code, detail) {
    this.fail(this.tile(n), code, detail);
    this.uploaded(n, 1);
  }

  fail(tile, code, detail) {
    tile.dataset.state = "failed";
    this.dropLocal(tile);
    const reason = document.createElement("span");
    reason.className = "reason";
    reason.textContent = detail;
    const stable = document.createElement("code");
    stable.textContent = code;
    tile.querySelector(".state").replaceChildren(reason, stable);
  }

  draw(photo) {
    const tile = this.tile(photo.n);
    if (tile.dataset.state === photo.state && tile.dataset.drawn) return;
    tile.dataset.state = photo.state;
    tile.dataset.drawn = "yes";
    tile.querySelector(".name bdi").textContent = photo.name;
    tile.querySelector(".name").title = photo.name;
    const state = tile.querySelector(".state");
    if (photo.state === "failed") {
      this.fail(tile, photo.code, photo.detail);
    } else if (photo.state === "done") {
      const link = document.createElement("a");
      link.href = photo.url;
      link.download = "";
      link.textContent = "Download";
      link.setAttribute("aria-label", `Download ${photo.name}`);
      const size = document.createElement("span");
      size.textContent = `${photo.width}×${photo.height}`;
      state.replaceChildren(link, size);
      const picture = document.createElement("img");
      picture.alt = "";
      picture.loading = "lazy";
      picture.addEventListener("load", () => this.dropLocal(tile));
      picture.src = photo.thumbnail_url;
      tile.querySelector(".frame").append(picture);
    } else {
      state.textContent = WORDS[photo.state] ?? photo.state;
    }
  }

  // The whole

  show(status, expected = 0) {
    if (this.status && status.version < this.status.version) return; // a late answer
    this.status = status;
    this.offset = Date.parse(status.server_time) - Date.now();
    for (const photo of status.photos) this.draw(photo);
    const total = status.total ?? Math.max(expected || this.expected || 0, status.photos.length);
    const ended = status.done + status.failed;
    const bar = this.part("progress");
    bar.max = Math.max(1, total);
    bar.value = ended;
    const failed = status.failed ? `, ${status.failed} failed` : "";
    const counts = `${status.done} of ${total} done${failed}`;
    this.part("counts").textContent = counts;
    document.title = `${counts} – Ebbmark`;
    const complete = status.state === "complete";
    this.part("title").textContent = !complete
      ? "Working on your photos"
      : status.done
        ? "Your photos are ready"
        : "None of the photos could be done";
    this.part("archive").hidden = !(complete && status.done);
    if (status.archive_url) this.part("archive").href = status.archive_url;
    this.part("delete").action = `${status.status_url}/delete`;
    this.countDown();
  }

  countDown() {
    const ends = this.status?.expires_at;
    if (!ends) return;
    const left = Math.round((Date.parse(ends) - Date.now() - this.offset) / 1000);
    if (left <= 0) {
      this.gone();
      return;
    }
    const two = (number) => String(number).padStart(2, "0");
    const minutes = Math.floor(left / 60);
    const clock = minutes > 60 ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}` : minutes;
    this.part("countdown").textContent = `Everything is deleted in ${clock}:${two(left % 60)}.`;
  }

  gone() {
    window.location.assign(this.status.status_url);
  }

  notice(text) {
    const notice = this.part("notice");
    notice.hidden = !text;
    notice.textContent = text ?? "";
  }

  async copy() {
    await navigator.clipboard.writeText(new URL(this.status.status_url, window.location.href).href);
    this.part("copy").textContent = "Copied";
    setTimeout(() => { this.part("copy").textContent = "Copy link"; }, 2000);
  }

  confirmDelete(event) {
    event.preventDefault();
    const dialog = this.part("confirm");
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && this.delete(), { once: true });
  }

  async delete() {
    this.leaving = true;
    this.onLeave?.();
    await insist("DELETE", this.status.status_url, null).catch(() => {});
    window.location.assign(this.status.status_url);
  }

  // Staying current: events, and asking when there are none.

  follow(statusUrl) {
    this.statusUrl = statusUrl;
    const source = new EventSource(`${statusUrl}/events`);
    source.addEventListener("snapshot", (event) => {
      this.notice(null);
      this.show(JSON.parse(event.data));
    });
    source.addEventListener("end", (event) => {
      source.close();
      // While photos go up, their sender sees that the job is gone, and says so.
      if (event.data !== "complete" && !this.leaving && !this.sending) window.location.assign(statusUrl);
    });
    this.ended.signal.addEventListener("abort", () => source.close());
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.poll();
      else this.notice("Reconnecting …");
    };
  }

  async poll() {
    if (this.ended.signal.aborted) return;
    try {
      const headers = { accept: "application/json" };
      if (this.etag) headers["if-none-match"] = this.etag;
      const answer = await fetch(this.statusUrl, { headers, cache: "no-store" });
      if (answer.status === 404 || answer.status === 410) {
        window.location.assign(this.statusUrl);
        return;
      }
      if (answer.status === 200) {
        this.etag = answer.headers.get("etag");
        this.notice(null);
        this.show(await answer.json());
      }
    } catch {
      this.notice("The server cannot be reached; trying again …");
    }
    if (this.status?.state !== "complete") setTimeout(() => this.poll(), POLL);
  }
}

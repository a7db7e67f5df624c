// The live view of one job, from its first photo to its deletion.

import { Bell } from "./bell.js";
import { insist } from "./http.js";
import { Tiles } from "./tiles.js";
import { drawTray } from "./tray.js";

const POLL = 3000;
const ANNOUNCE = 10_000;
const TRIES = 4; // of a deletion: its owner waits for it
const PATIENCE = 5000; // a stream that ends is mostly a server that was restarted: soon there is another

export class JobView {
  constructor(root) {
    this.root = root;
    this.tiles = new Tiles(this.part("tiles"), this.part("template"));
    this.status = null;
    this.offset = 0;
    this.announced = 0;
    this.ended = new AbortController();
    const { signal } = this.ended;
    this.part("delete").addEventListener("submit", (event) => this.confirmDelete(event), { signal });
    this.bell = new Bell(this.part("bell"), signal);
    this.root.addEventListener("submit", (event) => this.act(event), { signal });
    this.part("only").addEventListener("click", () => this.onlyFailed(), { signal });
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
    this.onlyFailed(false);
    this.tiles.clear();
  }

  part(name) {
    return this.root.querySelector(`[data-${name}]`);
  }

  // While photos go up

  sends(files) {
    this.sending = { sent: 0, total: files.length };
    files.forEach((file, n) => this.tiles.expect(n, file));
    this.sayHow();
  }

  sent(n) {
    this.tiles.uploading(n, 1);
    this.sending.sent += 1;
    this.sayHow();
  }

  refuse(n, code, detail) {
    this.sending.sent += 1;
    this.tiles.refuse(n, code, detail);
    if (this.status) this.show(this.status);
    this.sayHow();
  }

  sentAll() {
    this.sending = null;
    this.sayHow();
  }

  sayHow() {
    if (this.status?.expires_at) return;
    this.part("countdown").textContent = this.sending
      ? `${this.sending.sent} of ${this.sending.total} sent. Keep this page open until the last one is.`
      : "Photos appear as they are done. The countdown to their deletion begins with the last one.";
  }

  // The whole

  show(status) {
    if (this.status && status.version < this.status.version) return; // a late answer
    this.status = status;
    this.offset = Date.parse(status.server_time) - Date.now();
    for (const photo of status.photos) this.tiles.draw(photo, status.status_url);
    drawTray((name) => this.part(name), status);
    const listed = new Set(status.photos.map((photo) => photo.n));
    const unlisted = [...this.tiles.refused].filter((n) => !listed.has(n)).length;
    const total = this.sending?.total ?? (status.total ?? status.photos.length) + unlisted;
    const failed = status.failed + unlisted;
    const bar = this.part("progress");
    bar.max = Math.max(1, total);
    bar.value = status.done + failed;
    const counts = `${status.done} of ${total} done${failed ? `, ${failed} failed` : ""}`;
    this.part("counts").textContent = counts;
    this.part("only").hidden = !failed || failed === total;
    document.title = `${counts} – Ebbmark`;
    const complete = status.state === "complete";
    const title = !complete
      ? "Working on your photos"
      : status.done
        ? "Your photos are ready"
        : "None of the photos could be done";
    this.part("title").textContent = title;
    this.announce(complete ? `${title}: ${counts}` : counts, complete);
    this.bell.see(complete, title, counts);
    this.part("cancel").hidden = status.state !== "rendering";
    this.part("cancel").action = `${status.status_url}/cancel`;
    this.part("archive").hidden = !(complete && status.done);
    if (status.archive_url) this.part("archive").href = status.archive_url;
    this.part("delete").action = `${status.status_url}/delete`;
    this.part("receipt").href = status.receipt_url;
    this.part("receipt").hidden = false;
    this.part("timeline").href = `${status.status_url}/timeline`;
    this.part("timeline").hidden = false;
    this.countDown();
  }

  // What is read aloud: seldom, or nobody could listen.
  announce(text, now) {
    if (!now && Date.now() - this.announced < ANNOUNCE) return;
    this.announced = Date.now();
    this.part("announce").textContent = text;
  }

  onlyFailed(only = this.part("only").ariaPressed !== "true") {
    this.part("only").ariaPressed = String(only);
    this.part("tiles").classList.toggle("only-failed", only);
  }

  countDown() {
    const ends = this.status?.expires_at;
    if (!ends || this.leaving) return;
    const left = Math.ceil((Date.parse(ends) - Date.now() - this.offset) / 1000);
    const two = (number) => String(number).padStart(2, "0");
    const minutes = Math.floor(Math.max(0, left) / 60);
    const clock = minutes > 60 ? `${Math.floor(minutes / 60)}:${two(minutes % 60)}` : minutes;
    this.part("countdown").textContent = `Everything is deleted in ${clock}:${two(Math.max(0, left) % 60)}.`;
    if (left < 0) this.leave(); // a second later, when the server says so too
  }

  leave() {
    this.leaving = true;
    window.location.assign(this.statusUrl);
  }

  notice(text) {
    const notice = this.part("notice");
    notice.hidden = !text;
    notice.textContent = text ?? "";
  }

  async copy() {
    await navigator.clipboard.writeText(new URL(this.statusUrl, window.location.href).href);
    this.part("copy").textContent = "Copied";
    setTimeout(() => { this.part("copy").textContent = "Copy link"; }, 2000);
  }

  // Retry and cancel: plain forms, which the server answers with the job as it is then.
  async act(event) {
    const form = event.target;
    if (!("act" in form.dataset)) return;
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const fields = new URLSearchParams(new FormData(form));
      const onWait = () => this.notice("The server does not answer; trying again …");
      const headers = { accept: "application/json" };
      const status = await insist("POST", form.action, fields, { tries: TRIES, headers, onWait });
      this.notice(null);
      this.show(status);
      if (this.source?.readyState === EventSource.CLOSED) this.follow(this.statusUrl);
    } catch (problem) {
      this.notice(problem.message);
    } finally {
      button.disabled = false;
    }
  }

  confirmDelete(event) {
    event.preventDefault();
    const dialog = this.part("confirm");
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && this.delete(), { once: true });
  }

  async delete() {
    const button = this.part("delete").querySelector("button");
    this.leaving = true;
    button.disabled = true;
    this.notice("Deleting …");
    try {
      const onWait = () => this.notice("Deleting … The server does not answer; trying again.");
      await insist("DELETE", this.statusUrl, null, { tries: TRIES, onWait });
    } catch (problem) {
      if (problem.status !== 404 && problem.status !== 410) {
        this.leaving = false;
        button.disabled = false;
        this.notice(`Nothing was deleted. ${problem.message}`);
        return;
      }
    }
    this.onLeave?.();
    this.leave();
  }

  // Staying current: events, and asking when there are none.

  follow(statusUrl) {
    this.statusUrl = statusUrl;
    const source = new EventSource(`${statusUrl}/events`);
    this.source = source;
    let lost = 0;
    const found = () => {
      clearTimeout(lost);
      lost = 0;
      this.notice(null);
    };
    source.onopen = found;
    source.addEventListener("snapshot", (event) => this.show(JSON.parse(event.data)));
    source.addEventListener("end", (event) => {
      source.close();
      if (event.data !== "complete") this.isGone();
    });
    this.ended.signal.addEventListener("abort", () => {
      source.close();
      found();
    });
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) {
        found();
        this.poll();
      } else {
        lost ||= setTimeout(() => this.notice("The server cannot be reached; trying again …"), PATIENCE);
      }
    };
  }

  isGone() {
    // While photos go up, their sender sees that the job is gone, and says so.
    if (!this.leaving && !this.sending) this.leave();
  }

  async poll() {
    if (this.ended.signal.aborted) return;
    try {
      const headers = { accept: "application/json" };
      if (this.etag) headers["if-none-match"] = this.etag;
      const answer = await fetch(this.statusUrl, { headers, cache: "no-store" });
      if (answer.status === 404 || answer.status === 410) {
        this.isGone();
        return;
      }
      this.notice(answer.status < 400 ? null : "The server is busy; trying again …");
      if (answer.status === 200) {
        this.etag = answer.headers.get("etag");
        this.show(await answer.json());
      }
    } catch {
      this.notice("The server cannot be reached; trying again …");
    }
    if (this.status?.state !== "complete") setTimeout(() => this.poll(), POLL);
  }
}

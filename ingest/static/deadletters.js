// The operators' page. The token lives in this module's memory: in no address, no storage, no form that is sent.

import { insist } from "./http.js";

const find = (id) => document.getElementById(id);
let token = "";
let cursor = null;
let wish = null; // what the last dry run was about; only that may be redriven

const ask = (method, path, body) =>
  insist(method, path, body && JSON.stringify(body), {
    headers: { authorization: `Bearer ${token}`, accept: "application/json", ...(body && { "content-type": "application/json" }) },
    tries: 3,
  });

async function act(doing) {
  find("trouble").hidden = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await doing();
  } catch (problem) {
    find("trouble").textContent = problem.message;
    find("trouble").hidden = false;
    if (problem.status === 401) leave();
  } finally {
    document.body.removeAttribute("aria-busy");
  }
}

function leave() {
  token = "";
  find("room").hidden = true;
  find("door").hidden = false;
  find("letters").replaceChildren();
  find("token").focus();
}

function age(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

async function count() {
  const stats = await insist("GET", "/dlq/stats", null, { tries: 3 });
  const old = stats.open ? `, the oldest for ${age(stats.oldest_open_seconds)}` : "";
  find("summary").textContent = `${stats.open} open${old}.`;
  const chosen = find("reason").value;
  const reasons = [...new Set(stats.counts.map((each) => each.reason))];
  const options = reasons.map((reason) => new Option(reason, reason, false, reason === chosen));
  find("reason").replaceChildren(new Option("any", ""), ...options);
}

function draw(letter) {
  const row = find("row").content.firstElementChild.cloneNode(true);
  row.dataset.id = letter.id;
  row.dataset.state = letter.state;
  const shown = { ...letter, age: age(letter.age_seconds), n: letter.n ?? "–", job: letter.job ? `${letter.job.slice(0, 8)}…` : "–" };
  for (const cell of row.querySelectorAll("[data-of]")) cell.textContent = shown[cell.dataset.of];
  row.querySelector("[data-act=resolve]").hidden = letter.state === "resolved";
  return row;
}

async function list({ more = false } = {}) {
  const query = new URLSearchParams();
  for (const name of ["state", "reason", "job"]) if (find(name).value.trim()) query.set(name, find(name).value.trim());
  if (more && cursor !== null) query.set("cursor", cursor);
  const page = await ask("GET", `/dlq?${query}`);
  cursor = page.cursor;
  const rows = page.letters.map(draw);
  if (more) find("letters").append(...rows);
  else find("letters").replaceChildren(...rows);
  find("more").hidden = cursor === null;
  find("none").hidden = find("letters").childElementCount > 0;
  find("every").checked = false;
}

async function inspect(row, button) {
  const open = row.nextElementSibling?.matches(".inspected") ? row.nextElementSibling : null;
  button.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const { letter, detail } = await ask("GET", `/dlq/${row.dataset.id}`);
  const place = letter.partition < 0 ? `${letter.topic}, given up by the ledger` : `${letter.topic}, partition ${letter.partition}, offset ${letter.offset}`;
  const facts = [
    ["Letter", letter.id], ["Job", letter.job ?? "–"], ["From", place], ["First seen", letter.first_seen], ["Last seen", letter.last_seen],
    ["Redriven at", letter.redriven_at ?? "never"], ["Photo now", letter.photo_state ?? "–"],
    ["Redrive", detail ?? "possible"], [`Message, ${letter.size} bytes`, letter.preview],
  ];
  const list = document.createElement("dl");
  for (const [name, text] of facts) {
    const term = document.createElement("dt");
    const said = document.createElement("dd");
    const code = document.createElement("code");
    term.textContent = name;
    code.textContent = text;
    said.append(/^(Letter|Job|Message)/.test(name) ? code : text);
    list.append(term, said);
  }
  const shown = document.createElement("tr");
  shown.className = "inspected";
  const cell = shown.insertCell();
  cell.colSpan = 10;
  cell.append(list);
  row.after(shown);
}

function wished() {
  const which = find("which").value;
  const ids = [...find("letters").querySelectorAll("tr[data-id]")]
    .filter((row) => row.querySelector("input").checked)
    .map((row) => row.dataset.id);
  const value = { ids, reason: find("reason").value, job: find("job").value.trim(), all: true }[which];
  if (value === "" || value.length === 0) throw new Error({ ids: "Choose letters first.", reason: "Choose a reason above.", job: "Name a job above." }[which]);
  return { [which]: value, rate: Number(find("rate").value), force: find("force").checked };
}

// One answer covers some letters; with a cursor there are more.
async function redrive(dry) {
  const sum = { redriven: 0, refused: 0, why: new Map() };
  let from = null;
  do {
    const answer = await ask("POST", "/dlq/redrive", { ...wish, dry_run: dry, ...(from !== null && { cursor: from }) });
    sum.redriven += answer.redriven;
    sum.refused += answer.refused;
    for (const each of answer.outcomes.filter((one) => one.refusal)) {
      sum.why.set(each.refusal, { detail: each.detail, letters: (sum.why.get(each.refusal)?.letters ?? 0) + 1 });
    }
    tell(sum, dry);
    from = answer.cursor;
  } while (from !== null);
  return sum;
}

function tell({ redriven, refused, why }, dry) {
  const line = document.createElement("p");
  line.textContent = dry ? `${redriven} would be redriven, ${refused} refused.` : `${redriven} redriven, ${refused} refused.`;
  const reasons = document.createElement("ul");
  for (const [code, { detail, letters }] of why) {
    const item = document.createElement("li");
    item.textContent = `${letters} × ${code}: ${detail}`;
    reasons.append(item);
  }
  find("told").replaceChildren(line, ...(why.size ? [reasons] : []));
}

function stale() {
  wish = null;
  find("really").disabled = true;
}

find("door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value;
  find("token").value = "";
  act(async () => {
    await list();
    find("door").hidden = true;
    find("room").hidden = false;
    await count();
  });
});
find("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  act(async () => {
    await list();
    await count();
  });
});
find("more").addEventListener("click", () => act(() => list({ more: true })));
find("every").addEventListener("change", ({ target }) => {
  for (const box of find("letters").querySelectorAll("tr[data-id] input")) box.checked = target.checked;
});
find("letters").addEventListener("click", ({ target }) => {
  const row = target.closest("tr");
  if (target.dataset.act === "inspect") act(() => inspect(row, target));
  if (target.dataset.act === "resolve") {
    act(async () => {
      row.replaceWith(draw(await ask("POST", `/dlq/${row.dataset.id}/resolve`)));
      await count();
    });
  }
});
for (const id of ["letters", "filter", "redrive", "every"]) find(id).addEventListener("change", stale);
find("redrive").addEventListener("submit", (event) => {
  event.preventDefault();
  stale();
  act(async () => {
    wish = wished();
    const { redriven } = await redrive(true);
    find("really").disabled = redriven === 0;
  });
});
find("really").addEventListener("click", () => {
  find("really").disabled = true;
  act(async () => {
    await redrive(false);
    wish = null;
    await list();
    await count();
  });
});
find("scriptless").hidden = true;
find("door").querySelector("button").disabled = false;
act(count);

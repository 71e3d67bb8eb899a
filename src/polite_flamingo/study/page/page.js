"use strict";
// The page of a study. What the server is sent is kept in this browser until the server says it is on its disk.

const byId = (id) => document.getElementById(id);
const token = decodeURIComponent(location.hash.slice(1));
const QUEUE = `polite-study:${token}:`;
const letter = (slot) => String.fromCharCode(65 + slot);
const memory = new Map(); // where the browser allows no storage
let loading = false, typed = []; // keys pressed while a sample is on its way are for that sample
let study = null, round = 1, sample = null, cursor = 0, retry = null, flushing = false, wait = 1, images = new Map();

function make(tag, properties = {}, ...children) {
  const { data = {}, aria = {}, ...rest } = properties;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(aria)) node.setAttribute(name === "role" ? name : `aria-${name}`, value);
  node.append(...children);
  return node;
}

function say(text) { byId("live").textContent = text; }

async function ask(path, options = {}) {
  return fetch(path, { ...options, headers: { Authorization: `Bearer ${token}`, ...options.headers }, cache: "no-store" });
}

// ---- what is not on the server's disk yet

function stored() {
  try {
    const names = [];
    for (let i = 0; i < localStorage.length; i++) if (localStorage.key(i).startsWith(QUEUE)) names.push(localStorage.key(i));
    return [...names, ...memory.keys()].sort();
  } catch { return [...memory.keys()].sort(); }
}
function read(name) { return memory.get(name) ?? localStorage.getItem(name); }
function forget(name) { memory.delete(name); try { localStorage.removeItem(name); } catch { /* no storage */ } }

function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

let sequence = 0;
function send(event) {
  const key = randomKey(), clicked = new Date().toISOString();
  const name = `${QUEUE}${clicked}:${String(sequence++).padStart(6, "0")}:${key}`;
  const text = JSON.stringify({ slot: null, criterion: "", value: "", ...event, key, clicked, round, item: sample.item });
  try { localStorage.setItem(name, text); } catch { memory.set(name, text); }
  flush();
}

function showSaved(problem) {
  const count = stored().length, place = byId("saved");
  place.classList.toggle("warn", Boolean(problem));
  place.textContent = problem ? `${problem} ${count} kept in this browser` : count ? "saving …" : study ? "all saved" : "";
}

async function flush() {
  if (flushing) return;
  flushing = true;
  clearTimeout(retry);
  showSaved();
  for (let name; (name = stored()[0]); ) {
    const event = JSON.parse(read(name));
    let response;
    try {
      response = await ask("/api/events", { method: "POST", body: read(name), headers: { "Content-Type": "application/json" } });
      if (response.status >= 500) throw new Error("not kept");
      const answer = await response.json();
      if (response.status === 401) { flushing = false; showSaved("This link is no longer valid."); return; }
      forget(name);
      if (response.ok) kept(event, answer); else await refused(answer.error);
      wait = 1;
    } catch {
      flushing = false;
      showSaved("Not saved: the server does not answer.");
      retry = setTimeout(flush, wait * 1000);
      wait = Math.min(wait * 2, 10);
      return;
    }
  }
  flushing = false;
  showSaved();
}

function kept(event, shown) {
  if (event.kind === "undo") {
    if (shown.item === null) { say("Nothing to undo."); return; }
    mark(shown);
    if (shown.round === round) { show(shown, shown.item !== sample?.item); say("Undone."); }
    return;
  }
  mark(shown);
  if (sample && shown.item === sample.item && shown.round === round && stored().length === 0) {
    Object.assign(sample, { labels: shown.labels, places: shown.places, open: shown.open, others: shown.others });
    update();
  }
}

async function refused(why) {
  say(why);
  alertBar(why);
  if (sample) await visit(sample.item);
}

function alertBar(text) { const place = byId("saved"); place.classList.add("warn"); place.textContent = text; }

function mark(shown) {
  const own = study.rounds[shown.round], done = new Set(own.done);
  if (shown.done) done.add(shown.item); else done.delete(shown.item);
  own.done = [...done];
  showProgress();
}

// ---- moving about

async function load() {
  if (!token) { message("Please open the link you were given: it ends with # and a word of its own."); return; }
  let response;
  try { response = await ask("/api/study"); } catch { setTimeout(load, 2000); message("The server does not answer. This page tries again."); return; }
  if (!response.ok) { message("This link is not, or no longer, one of the study's. Ask whoever sent it to you."); return; }
  study = await response.json();
  document.title = study.title;
  byId("title").textContent = study.title;
  byId("annotator").textContent = study.annotator;
  byId("guidelines").textContent = study.guidelines;
  byId("rounds").hidden = false;
  showKeys();
  await flush();
  await enter(1);
  const greeted = `polite-study-read:${study.id}:${study.annotator}`;
  try { if (!localStorage.getItem(greeted)) { localStorage.setItem(greeted, "1"); byId("guide").showModal(); } } catch { /* no storage */ }
}

async function enter(number) {
  if (number !== round || sample) {
    const response = await ask("/api/study").catch(() => null);
    if (response?.ok) study = await response.json();
  }
  round = number;
  sample = null;
  for (const one of [1, 2]) byId(`round${one}`).setAttribute("aria-pressed", String(one === number));
  const own = study.rounds[round];
  const first = own.items.find((item) => !own.done.includes(item));
  showProgress();
  if (first === undefined) finished(); else await visit(first);
}

function finished() {
  const own = study.rounds[round], second = study.rounds[2], open = second.items.length - second.done.length;
  sample = null;
  if (round === 1 && own.items.length === 0) message("There is nothing for you in the first round.", "Second round", () => enter(2));
  else if (round === 1) {
    message(`You have judged all ${own.items.length} samples. Thank you!` + (open ? ` In the second round ${open} wait for you.` : ""),
      open ? "Second round" : "Look at them again", () => (open ? enter(2) : visit(own.items[0])));
  } else if (own.items.length === 0) message("Nothing to agree on yet: samples appear here when their judges have finished them and differ.", "First round", () => enter(1));
  else message("Everything here is agreed on. Thank you!", "Look at them again", () => visit(own.items[0]));
}

function message(text, action, then) {
  byId("main").hidden = true;
  byId("nav").hidden = true;
  byId("message").hidden = false;
  byId("message-text").textContent = text;
  const button = byId("message-action");
  button.hidden = !action;
  button.textContent = action ?? "";
  button.onclick = then ?? null;
  byId("message-text").focus();
}

async function visit(item) {
  keepComment();
  setLoading(true);
  let shown = null;
  while (shown === null) {
    try {
      const response = await ask(`/api/rounds/${round}/${item}`);
      if (response.status >= 500) throw new Error("no answer");
      if (!response.ok) { setLoading(false); await enter(round); return; }
      shown = await response.json();
    } catch {
      showSaved("The server does not answer.");
      await pause(1000);
    }
  }
  setLoading(false);
  showSaved();
  show(shown, true);
  const keys = typed;
  typed = [];
  for (const [key, shift] of keys) press(key, shift, false);
}

function setLoading(on) { loading = on; byId("main").inert = on; }
const pause = (time) => new Promise((then) => setTimeout(then, time));
async function saved() { for (let i = 0; i < 40 && stored().length; i++) await pause(50); } // two seconds at most

function step(by) {
  const items = study.rounds[round].items, here = sample ? items.indexOf(sample.item) : -1;
  const next = items[here + by];
  if (next !== undefined) visit(next);
  else if (by > 0) nextOpen();
}

async function nextOpen() {
  keepComment();
  await saved();
  const { items, done } = study.rounds[round], here = sample ? items.indexOf(sample.item) : -1;
  const ahead = [...items.slice(here + 1), ...items.slice(0, here)].find((item) => !done.includes(item));
  if (ahead !== undefined) visit(ahead);
  else if (sample && !done.includes(sample.item)) say("Only this one is open.");
  else finished();
}

function showProgress() {
  const own = study.rounds[round], total = own.items.length;
  byId("progress").max = Math.max(total, 1);
  byId("progress").value = own.done.length;
  const place = sample ? `Sample ${own.items.indexOf(sample.item) + 1} of ${total} · ` : "";
  byId("count").textContent = `${place}${own.done.length} done`;
  const open = study.rounds[2].items.length - study.rounds[2].done.length;
  byId("round2").textContent = `Round 2${open ? ` (${open})` : ""}`;
}

// ---- a sample

function show(shown, fresh) {
  const moved = fresh || !sample;
  sample = shown;
  const items = study.rounds[round].items;
  if (!items.includes(shown.item)) items.push(shown.item);
  byId("message").hidden = true;
  byId("main").hidden = false;
  byId("nav").hidden = false;
  if (moved) {
    byId("question").textContent = shown.question;
    byId("truth").textContent = shown.truth;
    byId("also").textContent = shown.also.length ? `Others answered: ${shown.also.join(" · ")}` : "";
    byId("answers").replaceChildren(...shown.answers.map(card));
    byId("ranking").hidden = !study.ranking || round === 2 || shown.answers.length < 2;
    byId("previous").disabled = items.indexOf(shown.item) === 0;
    showImages(shown.images);
    cursor = 0;
  }
  byId("comment").value = shown.comment;
  byId("comment").dataset.kept = shown.comment;
  update();
  if (moved) {
    const open = firstOpen(0);
    cursor = open < 0 ? 0 : open;
    point(false);
    window.scrollTo({ top: 0 });
    byId("question").focus({ preventScroll: true });
    say(`Sample ${items.indexOf(shown.item) + 1} of ${items.length}.`);
  }
  showProgress();
}

async function showImages(hashes) {
  const holder = byId("images"), shown = sample.item;
  holder.replaceChildren();
  holder.hidden = hashes.length === 0;
  for (const [index, hash] of hashes.entries()) {
    const name = hashes.length > 1 ? `Image ${index + 1} of ${hashes.length}` : "Image";
    const picture = make("img", { alt: name });
    const button = make("button", { type: "button", aria: { label: `${name}, enlarge` } }, picture);
    button.onclick = () => { byId("zoomed").src = picture.src; byId("zoomed").alt = name; byId("zoom").showModal(); };
    holder.append(button);
    try {
      if (!images.has(hash)) {
        const response = await ask(`/api/images/${hash}`);
        if (!response.ok) throw new Error("no image");
        images.set(hash, URL.createObjectURL(await response.blob()));
      }
      if (sample?.item !== shown) return;
      picture.src = images.get(hash);
    } catch { picture.alt = `${name} could not be loaded`; }
  }
}

function card(text, slot) {
  const criteria = study.criteria.map((criterion) => {
    const options = criterion.options.map(([value, wording], index) => {
      const input = make("input", { type: "radio", name: `${slot}/${criterion.name}`, value, data: { slot, criterion: criterion.name } });
      input.onchange = () => { cursor = at(slot, criterion.name); label(value, false); };
      return make("label", {}, input, make("span", {}, wording), make("kbd", { aria: { hidden: "true" } }, String(index + 1)));
    });
    const legend = make("legend", {}, criterion.question);
    return make("fieldset", { data: { criterion: criterion.name } }, legend, make("div", { className: "options" }, ...options));
  });
  const title = make("h2", { id: `answer-${slot}` }, make("span", {}, sample.answers.length > 1 ? `Answer ${letter(slot)}` : "Answer"), make("span", { className: "tag" }));
  const node = make("section", { className: "card answer", tabIndex: -1, data: { slot }, aria: { labelledby: `answer-${slot}` } },
    title, make("p", { className: "text" }, text), ...criteria, make("div", { className: "others", hidden: true }));
  node.addEventListener("pointerdown", () => { cursor = at(slot, study.criteria[0].name); point(false); });
  return node;
}

// the questions of a sample in order: every criterion of the first answer, of the second …
const width = () => study.criteria.length;
const total = () => sample.answers.length * width();
const at = (slot, criterion) => slot * width() + study.criteria.findIndex((one) => one.name === criterion);
const spot = (index) => ({ slot: Math.floor(index / width()), criterion: study.criteria[index % width()] });
const given = (slot, criterion) => sample.labels.find((one) => one[0] === slot && one[1] === criterion)?.[2];
const isOpen = (index) => {
  const { slot, criterion } = spot(index);
  if (round === 2) return sample.open.some((one) => one[0] === slot && one[1] === criterion.name);
  return given(slot, criterion.name) === undefined;
};
function firstOpen(from) {
  for (let i = 0; i < total(); i++) if (isOpen((from + i) % total())) return (from + i) % total();
  return -1;
}

function update() {
  for (const input of byId("answers").querySelectorAll("input")) input.checked = given(Number(input.dataset.slot), input.dataset.criterion) === input.value;
  for (const node of byId("answers").children) {
    const slot = Number(node.dataset.slot), tag = node.querySelector(".tag"), box = node.querySelector(".others");
    box.hidden = round === 1;
    if (round === 1) continue;
    const differ = sample.open.some((one) => one[0] === slot);
    node.classList.toggle("agreed", !differ);
    tag.textContent = differ ? "to agree on" : "agreed";
    tag.classList.toggle("differ", differ);
    box.replaceChildren(...sample.others.flatMap((other) => otherLines(other, slot)));
  }
  showPlaces();
  point(false);
}

function otherLines(other, slot) {
  const words = study.criteria.map((criterion) => {
    const value = other.labels.find((one) => one[0] === slot && one[1] === criterion.name)?.[2];
    const wording = criterion.options.find((one) => one[0] === value)?.[1] ?? "nothing yet";
    return width() > 1 ? `${criterion.name}: ${wording}` : wording;
  });
  const lines = [make("div", {}, `${other.name} says: ${words.join("; ")}`)];
  if (slot === sample.answers.length - 1) lines.push(...other.comments.map((text) => make("div", { className: "text" }, `${other.name} comments: ${text}`)));
  return lines;
}

function point(focus) {
  const { slot } = spot(cursor);
  for (const node of byId("answers").children) {
    const current = Number(node.dataset.slot) === slot;
    node.classList.toggle("current", current);
    if (current && focus) { node.focus({ preventScroll: true }); node.scrollIntoView({ block: "nearest" }); }
  }
}

function label(value, advance) {
  const { slot, criterion } = spot(cursor);
  sample.labels = [...sample.labels.filter((one) => one[0] !== slot || one[1] !== criterion.name), [slot, criterion.name, value]];
  send({ kind: "label", slot, criterion: criterion.name, value });
  const wording = criterion.options.find((one) => one[0] === value)[1];
  say(`Answer ${letter(slot)}, ${wording}.`);
  if (advance) {
    const next = round === 2 ? (cursor + 1) % total() : firstOpen(cursor);
    if (next >= 0) cursor = next;
    update();
    if (next >= 0) point(true);
    else if (!byId("ranking").hidden && pool().length) { byId("ranking").focus({ preventScroll: true }); byId("ranking").scrollIntoView({ block: "nearest" }); }
    else byId("next").focus();
  } else update();
}

// ---- places

const pool = () => sample.answers.map((_, slot) => slot).filter((slot) => !sample.places.some((place) => place.includes(slot)));
const placeOf = (slot) => sample.places.findIndex((place) => place.includes(slot));

function rank(places, slot) {
  sample.places = places.filter((place) => place.length);
  send({ kind: "rank", value: JSON.stringify(sample.places) });
  const index = placeOf(slot);
  const equal = index < 0 ? [] : sample.places[index].filter((other) => other !== slot).map(letter);
  say(index < 0 ? `${letter(slot)} has no place.` : `${letter(slot)} has place ${index + 1}${equal.length ? `, as ${equal.join(", ")}` : ""}.`);
  showPlaces();
}
const without = (slot) => sample.places.map((place) => place.filter((other) => other !== slot));

function place(slot, tied) { // the next place, or the last one shared
  const places = without(slot).filter((one) => one.length);
  if (tied && places.length) places[places.length - 1].push(slot); else places.push([slot]);
  rank(places, slot);
}
function put(slot, index, into) { // before place `index`, or into it; places as they stand now
  const places = without(slot);
  if (into) places[index].push(slot); else places.splice(index, 0, [slot]);
  rank(places, slot);
}
function up(slot) { const i = placeOf(slot); if (sample.places[i].length > 1) put(slot, i, false); else if (i > 0) put(slot, i - 1, false); }
function down(slot) { const i = placeOf(slot); if (sample.places[i].length > 1) put(slot, i + 1, false); else if (i < sample.places.length - 1) put(slot, i + 2, false); }
function tie(slot) { const i = placeOf(slot); if (i > 0) put(slot, i - 1, true); }

function chip(slot, placed) {
  const name = letter(slot);
  const handle = make("button", { type: "button", className: "handle", data: { slot, act: "handle" }, aria: { label: placed ? `Answer ${name}, place ${placeOf(slot) + 1}` : `Give answer ${name} the next place` } },
    make("kbd", {}, name), make("span", { className: "begin" }, sample.answers[slot]));
  handle.onclick = () => { if (!placed && !handle.dragged) place(slot, false); };
  drag(handle, slot);
  const node = make("div", { className: "chip" }, handle);
  if (placed) {
    for (const [act, sign, words, then] of [["up", "↑", "one place up", up], ["down", "↓", "one place down", down], ["tie", "=", "share the place above", tie], ["out", "×", "take the place away", (one) => rank(without(one), one)]]) {
      const button = make("button", { type: "button", className: "move", textContent: sign, title: words, data: { slot, act }, aria: { label: `Answer ${name}: ${words}` } });
      button.onclick = () => then(slot);
      node.append(button);
    }
  }
  return node;
}

function showPlaces() {
  if (byId("ranking").hidden) return;
  const focused = document.activeElement?.closest?.("#ranking [data-act]")?.dataset;
  byId("places").replaceChildren(...sample.places.map((one) => make("li", { className: "place" }, make("div", { className: "chips" }, ...one.map((slot) => chip(slot, true))))));
  byId("pool").replaceChildren(...pool().map((slot) => chip(slot, false)));
  byId("rank-hint").textContent = pool().length
    ? "Choose answers in order, the best first: by click, by drag, or by their letter (with Shift: as good as the last)."
    : "Drag between places to move, onto a place to share it.";
  if (focused) {
    const again = byId("ranking").querySelector(`[data-slot="${focused.slot}"][data-act="${focused.act}"]`) ?? byId("pool").querySelector("button") ?? byId("next");
    again.focus();
  }
}

function drag(handle, slot) {
  let start = null, target = null;
  const clear = () => { for (const node of document.querySelectorAll(".into, .before, .after")) node.classList.remove("into", "before", "after"); };
  const find = (y) => {
    const rows = [...byId("places").children];
    for (const [index, row] of rows.entries()) {
      const box = row.getBoundingClientRect(), share = (y - box.top) / box.height;
      if (y < box.bottom || index === rows.length - 1) {
        if (share < 0.3) return { index, into: false, row, side: "before" };
        if (share <= 0.7) return { index, into: true, row, side: "into" };
        return { index: index + 1, into: false, row, side: "after" };
      }
    }
    return { index: 0, into: false, row: byId("places"), side: "into" };
  };
  handle.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    start = event.clientY; handle.dragged = false;
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (start === null || (!handle.dragged && Math.abs(event.clientY - start) < 6)) return;
    handle.dragged = true;
    handle.parentNode.classList.add("dragged");
    clear();
    target = find(event.clientY);
    target.row.classList.add(target.side);
  });
  handle.addEventListener("pointerup", () => {
    const dropped = handle.dragged && target;
    start = null; clear(); handle.parentNode.classList.remove("dragged");
    if (!dropped) return;
    const own = placeOf(slot), alone = own >= 0 && sample.places[own].length === 1;
    const same = own >= 0 && (target.into ? target.index === own : alone && (target.index === own || target.index === own + 1));
    if (!same) put(slot, target.index, target.into);
    target = null;
  });
  handle.addEventListener("pointercancel", () => { start = null; target = null; handle.dragged = false; clear(); handle.parentNode.classList.remove("dragged"); });
}

// ---- comment, keys

let typing = null;
function keepComment() {
  clearTimeout(typing);
  const box = byId("comment");
  if (!sample || box.value === box.dataset.kept) return;
  box.dataset.kept = box.value;
  sample.comment = box.value;
  send({ kind: "comment", value: box.value });
}
function undo() { keepComment(); if (sample) send({ kind: "undo" }); }

const KEYS = [
  ["1 to 9", "the option with that number, for the answer in the frame"],
  ["k / j", "the answer before, the next one"],
  ["a, b, c …", "give that answer the next place; with Shift it shares the last place"],
  ["u", "undo the last click"],
  ["n / p, → / ←", "next, previous sample"],
  ["o", "next open sample"],
  ["m", "write a comment (Esc ends)"],
  ["?", "guidelines and keys"],
];
function showKeys() {
  byId("keys").replaceChildren(...KEYS.flatMap(([keys, what]) => [make("dt", {}, make("kbd", {}, keys)), make("dd", {}, what)]));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !study || document.querySelector("dialog[open]")) return;
  if (event.target === byId("comment")) { if (event.key === "Escape") { keepComment(); byId("question").focus(); } return; }
  if (!byId("shortcuts").checked) return;
  if (loading) { typed.push([event.key, event.shiftKey]); event.preventDefault(); return; }
  if (press(event.key, event.shiftKey, event.target.type === "radio")) event.preventDefault();
});

function press(key, shift, radio) { // whether the key does something
  let handled = true;
  if (key === "?") byId("guide").showModal();
  else if (!sample) handled = false;
  else if (/^[1-9]$/.test(key)) {
    const option = spot(cursor).criterion.options[Number(key) - 1];
    if (option) label(option[0], true); else handled = false;
  } else if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "u") undo();
  else if (key === "n" || (key === "ArrowRight" && !radio)) step(1);
  else if (key === "p" || (key === "ArrowLeft" && !radio)) step(-1);
  else if (key === "o") nextOpen();
  else if (key === "m") byId("comment").focus();
  else if (/^[a-i]$/i.test(key) && !byId("ranking").hidden && key.toLowerCase().charCodeAt(0) - 97 < sample.answers.length) place(key.toLowerCase().charCodeAt(0) - 97, shift);
  else handled = false;
  return handled;
}

function move(by) {
  const slot = Math.min(Math.max(spot(cursor).slot + by, 0), sample.answers.length - 1);
  cursor = slot * width();
  point(true);
}

byId("round1").onclick = () => { keepComment(); enter(1); };
byId("round2").onclick = () => { keepComment(); enter(2); };
byId("help").onclick = () => byId("guide").showModal();
byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
byId("open").onclick = nextOpen;
byId("undo").onclick = undo;
byId("skip").onclick = (event) => { event.preventDefault(); point(true); };
byId("comment").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(keepComment, 1500); });
byId("comment").addEventListener("change", keepComment);
document.addEventListener("visibilitychange", () => { if (document.hidden) keepComment(); });
window.addEventListener("hashchange", () => location.reload());
window.addEventListener("online", flush);
load();

// Accept and reject marks. Each has a version, the time at which it was set: of two marks of a pair the newer counts,
// wherever it comes from. They are kept in this browser, where every tab of the review reads and adds to them.
//
// In the browser's storage, under the review's name and those of its parts, lies by id [mark, digest, version, reason];
// pages before this one wrote { mark, reason, digest }, whose version is 0.

const SIGNS = { accept: "✓", reject: "✗" };
const STATES = { accept: "accepted", reject: "rejected" };
const LETTERS = { accept: "a", reject: "r" };
const OWN_KEY = page.part ? `${page.store} ${page.part}` : page.store;
const TAB_KEY = `${OWN_KEY} tab`;
const TAB = `${Date.now()} ${Math.random()}`;
const NAMED = 5;

const byId = new Map(records.map((record) => [record.id, record]));
const marks = new Map(); // by id: { mark, reason, digest, version }; no mark: it was taken back
const aside = new Map(); // what is stored of pairs that are not here, or have changed: it stays as it is
const notices = new Map();

/** One line of the message a subject; an empty text takes it away. */
function say(subject, text) {
  notices.set(subject, text);
  const lines = [...notices.values()].filter(Boolean);
  element("message").replaceChildren(...lines.map((line) => make("p", line)));
  element("message").hidden = !lines.length;
}

function markOf(record) {
  return record && marks.get(record.id)?.mark;
}

function listed(ids) {
  return [...ids.slice(0, NAMED), ...(ids.length > NAMED ? [`${ids.length - NAMED} more`] : [])].join(", ");
}

/** A mark as it came, or nothing where it is none. */
function unpacked(value) {
  const [letter, digest, version, reason] = Array.isArray(value)
    ? value
    : [LETTERS[value?.mark] ?? value?.mark, value?.digest, value?.version ?? 0, value?.reason];
  const mark = Object.keys(LETTERS).find((name) => LETTERS[name] === letter) ?? null;
  if ((letter && !mark) || typeof digest !== "string" || !Number.isFinite(version)) return null;
  return { mark, digest, version, reason: typeof reason === "string" ? reason : "" };
}

function packed({ mark, digest, version, reason }) {
  return [LETTERS[mark] ?? "", digest, version, ...(reason ? [reason] : [])];
}

/**
 * Takes a mark over where it is newer than the one that is here.
 *
 * known: what to say of one as old as that here but another: whether it counts.
 * Returns "unfit" (of no pair as it is here), "same", "added", "changed" (it takes another's place) or "kept" (it is
 * older).
 */
function takeIn(id, entry, equalCounts = false) {
  if (!entry || byId.get(id)?.digest !== entry.digest) return "unfit";
  const here = marks.get(id);
  const newer = !here || entry.version > here.version || (equalCounts && entry.version === here.version);
  const same = (here?.mark ?? null) === entry.mark && (here?.reason ?? "") === entry.reason;
  if (newer) marks.set(id, entry);
  if (same) return "same";
  return newer ? (here?.mark ? "changed" : "added") : "kept";
}

/** By what became of them, the ids of many marks. */
function takeAllIn(entries, equalCounts = false) {
  const ids = { unfit: [], same: [], added: [], changed: [], kept: [] };
  for (const [id, value] of entries) ids[takeIn(id, unpacked(value), equalCounts)].push(id);
  return ids;
}

function isOurs(key) {
  return key === page.store || (key?.startsWith(`${page.store} `) && !key.endsWith(" tab"));
}

function stored(key) {
  return Object.entries(JSON.parse(localStorage.getItem(key) ?? "{}"));
}

function cannotKeep(error) {
  say("storage", `This browser cannot keep the marks (${error.message}). Export them before you close the page.`);
}

/** Reads what this and other pages of the review have kept. */
function loadMarks() {
  try {
    const others = Object.keys(localStorage).filter((key) => isOurs(key) && key !== OWN_KEY);
    const changed = others.flatMap((key) => takeAllIn(stored(key)).unfit.filter((id) => byId.has(id)));
    const unfit = [...new Set([...readOwn().unfit, ...changed])].filter((id) => !marks.has(id));
    if (!unfit.length) return;
    const many = counted(unfit.length, "earlier mark is", "earlier marks are");
    say("unfit", `${many} of pairs that have changed or are gone, and not used: ${listed(unfit)}.`);
  } catch (error) {
    cannotKeep(error);
  }
}

/** Reads what this page has kept; what is of no pair that is here is put aside. */
function readOwn() {
  const entries = new Map(stored(OWN_KEY));
  const taken = takeAllIn(entries);
  for (const id of taken.unfit) aside.set(id, entries.get(id));
  return taken;
}

/** Writes all marks, after reading what another tab has written since. */
function saveMarks() {
  try {
    tellNews(readOwn());
    const all = [...aside, ...[...marks].map(([id, entry]) => [id, packed(entry)])];
    localStorage.setItem(OWN_KEY, JSON.stringify(Object.fromEntries(all)));
  } catch (error) {
    cannotKeep(error);
  }
}

function setMark(record, mark, reason = "") {
  const before = marks.get(record.id);
  if (!mark && !before) return;
  const version = Math.max(Date.now(), (before?.version ?? 0) + 1);
  aside.delete(record.id);
  marks.set(record.id, { mark, reason, digest: record.digest, version });
  saveMarks();
}

function tellNews({ added, changed }) {
  const news = [...added, ...changed];
  if (!news.length) return;
  const words = news.map((id) => `${id} is now ${STATES[marks.get(id).mark] ?? "undecided"}`);
  say("tab", `From another tab: ${listed(words)}.`);
  marksChanged();
}

/** What another tab has written: its newer marks are taken in, and what it did not know is written again. */
function hearTab(event) {
  if (event.key === TAB_KEY && event.newValue) return greet(JSON.parse(event.newValue));
  if (event.key !== null && !isOurs(event.key)) return;
  const entries = Object.entries(JSON.parse(event.newValue ?? "{}"));
  const taken = takeAllIn(entries);
  tellNews(taken);
  const there = new Set(entries.map(([id]) => id));
  const unknown = taken.kept.length || [...marks.keys()].some((id) => !there.has(id));
  if ((event.key ?? OWN_KEY) === OWN_KEY && unknown) saveMarks();
}

/** Tabs of the same page tell each other that they are there. */
function greet({ from, kind }) {
  if (from === TAB) return;
  say("tabs", "This page is open in another tab, too. Nothing is lost: both keep all marks, and of one pair the newer counts.");
  if (kind === "hello") callTabs("here");
}

function callTabs(kind) {
  try {
    localStorage.setItem(TAB_KEY, JSON.stringify({ from: TAB, kind, at: Date.now() }));
  } catch (error) {
    cannotKeep(error);
  }
}

function startMarks() {
  loadMarks();
  window.addEventListener("storage", hearTab);
  callTabs("hello");
}

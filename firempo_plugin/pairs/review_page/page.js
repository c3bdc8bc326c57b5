"use strict";

// Text from records reaches the page through textContent only, never as markup.

const ROW_HEIGHT = 48;
const SPARE_ROWS = 6;
const MARK_SIGNS = { accept: "✓", reject: "✗" };
const FILTERS = [
  ["mark", "mark"],
  ["noise_path", "noise path"],
  ["was_correct", "model was right"],
  ["judge", "judge"],
  ["kind", "kind"],
  ["language", "language"],
];

const element = (id) => document.getElementById(id);

function takeData(id) {
  const node = element(id);
  const data = JSON.parse(node.textContent);
  node.remove();
  return data;
}

function make(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}

const page = takeData("page-data");
const records = takeData("record-data");
const pictures = takeData("picture-data");
const byId = new Map(records.map((record) => [record.id, record]));
for (const record of records) {
  const texts = [record.id, record.question, record.truth, ...record.chosen, "\n", ...record.rejected];
  const facts = Object.values(record.facts).filter((value) => value !== null);
  record.searchable = [texts.slice(0, 3).join("\n"), texts.slice(3).join(""), ...facts].join("\n").toLowerCase();
}

let marks = new Map();
let shown = records;
let current = 0;

// ---- marks ------------------------------------------------------------------------------------------------------

function say(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
}

function acceptMarks(entries) {
  let unfit = 0;
  for (const [id, mark] of entries) {
    const record = byId.get(id);
    const valid = record && mark && mark.mark in MARK_SIGNS && mark.digest === record.digest;
    if (valid) {
      const reason = typeof mark.reason === "string" ? mark.reason : "";
      marks.set(id, { mark: mark.mark, reason, digest: mark.digest });
    } else {
      unfit += 1;
    }
  }
  return unfit;
}

function loadMarks() {
  try {
    const unfit = acceptMarks(Object.entries(JSON.parse(localStorage.getItem(page.store) ?? "{}")));
    if (unfit) say(`${unfit} earlier marks are of pairs that have changed or are gone; they are not used.`);
  } catch (error) {
    say(`This browser gives no marks back (${error.message}). Export them before you close the page.`);
  }
}

function saveMarks() {
  try {
    localStorage.setItem(page.store, JSON.stringify(Object.fromEntries(marks)));
  } catch (error) {
    say(`This browser cannot keep the marks (${error.message}). Export them before you close the page.`);
  }
}

function setMark(mark, reason = "") {
  const record = shown[current];
  if (!record) return;
  if (mark) marks.set(record.id, { mark, reason, digest: record.digest });
  else marks.delete(record.id);
  saveMarks();
  showCounts();
}

function exportMarks() {
  const content = { format: page.format, title: page.title, marks: Object.fromEntries(marks) };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = page.download;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function importMarks(file) {
  try {
    const content = JSON.parse(await file.text());
    if (content.format !== page.format) throw new Error(`it is not of the format ${page.format}`);
    const entries = Object.entries(content.marks);
    const unfit = acceptMarks(entries);
    say(`${entries.length - unfit} marks read from ${file.name}; ${unfit} are of other or changed pairs.`);
    saveMarks();
    showCounts();
    applyFilters();
  } catch (error) {
    say(`${file.name} cannot be read: ${error.message}`);
  }
}

function showCounts() {
  const counts = { accept: 0, reject: 0 };
  for (const { mark } of marks.values()) counts[mark] += 1;
  const open = records.length - counts.accept - counts.reject;
  element("counts").textContent = `${counts.accept} accepted, ${counts.reject} rejected, ${open} undecided`;
  for (const mark of Object.keys(counts)) {
    element(`bar-${mark}`).style.width = `${(100 * counts[mark]) / Math.max(1, records.length)}%`;
  }
}

// ---- filters and list -------------------------------------------------------------------------------------------

function factOf(record, name) {
  if (name === "mark") return marks.get(record.id)?.mark ?? "undecided";
  return String(record.facts[name] ?? "none");
}

function buildFilters() {
  for (const [name, label] of FILTERS) {
    const counts = new Map();
    for (const record of records) counts.set(factOf(record, name), (counts.get(factOf(record, name)) ?? 0) + 1);
    const select = make("select");
    select.dataset.name = name;
    const values = name === "mark" ? ["undecided", "accept", "reject"] : [...counts.keys()].sort();
    select.append(new Option("all", ""));
    for (const value of values) select.append(new Option(name === "mark" ? value : `${value} (${counts.get(value)})`, value));
    select.addEventListener("change", applyFilters);
    const box = make("label", label);
    box.append(select);
    element("filters").append(box);
  }
}

/** The list stays as it is while marks are set, so that Previous leads back to what was just marked. */
function applyFilters() {
  const wanted = [...document.querySelectorAll("#filters select")].filter((select) => select.value);
  const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const before = shown[current];
  shown = records.filter(
    (record) =>
      wanted.every((select) => factOf(record, select.dataset.name) === select.value) &&
      words.every((word) => record.searchable.includes(word)),
  );
  element("found").textContent = `${shown.length} of ${records.length} pairs`;
  element("rows").style.height = `${shown.length * ROW_HEIGHT}px`;
  go(Math.max(0, shown.indexOf(before)));
}

function drawRows() {
  const list = element("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - SPARE_ROWS);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW_HEIGHT) + SPARE_ROWS);
  const rows = [];
  for (let index = first; index < last; index += 1) {
    const record = shown[index];
    const mark = marks.get(record.id)?.mark;
    const row = make("div", "", index === current ? "row current" : "row");
    row.style.top = `${index * ROW_HEIGHT}px`;
    row.append(make("span", MARK_SIGNS[mark] ?? "", `state ${mark ?? ""}`));
    row.append(make("div", record.question), make("div", `${factOf(record, "noise_path")} · ${record.id}`, "small"));
    row.addEventListener("click", () => go(index));
    rows.push(row);
  }
  element("rows").replaceChildren(...rows);
}

function go(index) {
  current = Math.min(Math.max(0, index), Math.max(0, shown.length - 1));
  const list = element("list");
  const top = current * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  drawRows();
  drawDetail();
}

// ---- one pair ---------------------------------------------------------------------------------------------------

/** `pieces` alternates between text outside and inside the phrases. */
function drawResponse(id, pieces) {
  const nodes = pieces.map((piece, place) => (place % 2 ? make("mark", piece) : document.createTextNode(piece)));
  if (pieces.length < 2) nodes.push(make("span", "  (no phrase on this side)", "none"));
  element(id).replaceChildren(...nodes);
}

function drawFrame(picture, image, caption) {
  const figure = make("figure");
  const frame = make("div", "", "frame");
  if (picture.index === null) {
    frame.append(make("p", picture.problem));
  } else {
    const img = make("img");
    img.src = pictures[picture.index];
    img.alt = caption;
    frame.append(img);
  }
  if (image.outline && picture.index !== null) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", image.view);
    svg.setAttribute("preserveAspectRatio", "none");
    path.setAttribute("d", image.outline);
    svg.append(path);
    frame.append(svg);
  }
  figure.append(frame, make("figcaption", caption));
  return figure;
}

function drawPictures(record) {
  const { noise_path: path, sigma } = record.facts;
  const caption = ["noised", path, sigma ? `sigma ${sigma}` : null].filter(Boolean).join(", ");
  const rows = record.images.map((image) => {
    const row = make("div", "", "pair");
    row.append(drawFrame(image.clean, image, "clean"));
    if (image.noised) row.append(drawFrame(image.noised, image, caption));
    return row;
  });
  element("pictures").replaceChildren(...rows);
}

function drawDetail() {
  const record = shown[current];
  element("detail").hidden = !record;
  element("nothing").hidden = Boolean(record);
  if (!record) return;
  const mark = marks.get(record.id);
  for (const name of Object.keys(MARK_SIGNS)) element(name).classList.toggle("on", mark?.mark === name);
  element("reason").value = mark?.reason ?? "";
  element("reason").disabled = mark?.mark !== "reject";
  if (element("detail").dataset.id === record.id) return;
  element("detail").dataset.id = record.id;
  element("detail").scrollTop = 0;
  element("question").textContent = record.question;
  element("truth").textContent = record.truth;
  drawResponse("chosen", record.chosen);
  drawResponse("rejected", record.rejected);
  drawPictures(record);
  const facts = [["id", record.id], ...Object.entries(record.facts)].filter(([, value]) => value !== null && value !== "");
  element("facts").replaceChildren(
    ...facts.map(([name, value]) => {
      const row = make("tr");
      row.append(make("td", name.replaceAll("_", " ")), make("td", String(value)));
      return row;
    }),
  );
}

// ---- keys and buttons -------------------------------------------------------------------------------------------

function decide(mark) {
  setMark(mark);
  go(mark ? current + 1 : current);
}

function rejectWithReason() {
  setMark("reject", marks.get(shown[current]?.id)?.reason);
  go(current);
  element("reason").focus();
}

const KEYS = {
  a: () => decide("accept"),
  r: () => decide("reject"),
  R: rejectWithReason,
  u: () => decide(null),
  n: () => go(current + 1),
  p: () => go(current - 1),
  ArrowDown: () => go(current + 1),
  ArrowUp: () => go(current - 1),
  o: () => element("pictures").classList.toggle("no-outline"),
  "/": () => element("search").focus(),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

const BUTTONS = { accept: "a", reject: "r", undo: "u", next: "n", previous: "p" };
for (const [id, key] of Object.entries(BUTTONS)) {
  element(id).addEventListener("click", (event) => {
    event.currentTarget.blur();
    KEYS[key]();
  });
}
element("reason").addEventListener("input", (event) => setMark("reject", event.target.value));
element("reason").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.target.blur();
  go(current + 1);
});
element("search").addEventListener("input", applyFilters);
element("list").addEventListener("scroll", () => requestAnimationFrame(drawRows));
window.addEventListener("resize", drawRows);
element("export").addEventListener("click", exportMarks);
element("import").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", (event) => {
  if (event.target.files.length) importMarks(event.target.files[0]);
  event.target.value = "";
});

loadMarks();
buildFilters();
showCounts();
applyFilters();

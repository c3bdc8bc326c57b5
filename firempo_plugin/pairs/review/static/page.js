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

/** Characters that turn the direction of what follows are written out: a text looks as it is read. */
function visible(text) {
  return text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (mark) => `[U+${mark.codePointAt(0).toString(16).toUpperCase()}]`);
}

function make(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = visible(text);
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

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

const page = takeData("page-data");
const records = takeData("record-data");
const byId = new Map(records.map((record) => [record.id, record]));
for (const record of records) {
  const texts = [record.id, record.question, record.truth, ...record.chosen, "\n", ...record.rejected];
  const facts = Object.values(record.facts).filter((value) => value !== null);
  record.searchable = [texts.slice(0, 3).join("\n"), texts.slice(3).join(""), ...facts].join("\n").toLowerCase();
}

let marks = new Map();
let shown = records;
let current = 0;

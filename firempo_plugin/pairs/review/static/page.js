const ROW_HEIGHT = 48;
const SPARE_ROWS = 6;
const FILTERS = [
  ["mark", "mark"],
  ["noise_path", "noise path"],
  ["was_correct", "model was right"],
  ["judge", "judge"],
  ["kind", "kind"],
  ["language", "language"],
];

for (const record of records) {
  const texts = [record.id, record.question, record.truth, ...record.chosen, "\n", ...record.rejected];
  const facts = Object.values(record.facts).filter((value) => value !== null);
  record.searchable = [texts.slice(0, 3).join("\n"), texts.slice(3).join(""), ...facts].join("\n").toLowerCase();
}

let shown = records;
let current = 0;

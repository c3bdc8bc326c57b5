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

const reports = new Map(); // by response: its findings that are on this page, each a pair
for (const record of records) {
  if (record.finding) reports.set(record.finding.of, [...(reports.get(record.finding.of) ?? []), record]);
  const texts = [record.id, record.question, record.truth, ...record.chosen, "\n", ...record.rejected];
  const facts = Object.values(record.facts).filter((value) => value !== null);
  record.searchable = [texts.slice(0, 3).join("\n"), texts.slice(3).join(""), ...facts].join("\n").toLowerCase();
}

let shown = records;
let current = 0;

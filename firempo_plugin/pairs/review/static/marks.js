// Accept and reject marks: kept in this browser, exported to a file, and read back from one.

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

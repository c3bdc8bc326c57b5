// Marks in files: what `export.decisions` reads, and what another reviewer or another browser has saved.

function exportMarks() {
  const entries = [...marks];
  const undone = entries.filter(([, { mark }]) => !mark).map(([id, { digest, version }]) => [id, { digest, version }]);
  const content = {
    format: page.format,
    title: page.title,
    marks: Object.fromEntries(entries.filter(([, { mark }]) => mark)),
    undone: Object.fromEntries(undone),
  };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = page.download;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** A mark in a file without a version is as old as all such marks; it counts, for somebody chose the file now. */
async function importMarks(file) {
  try {
    const content = JSON.parse(await file.text());
    if (content?.format !== page.format) throw new Error(`it is not of the format ${page.format}`);
    const taken = [...Object.entries(content.marks), ...Object.entries(content.undone ?? {})];
    const { added, changed, kept, same, unfit } = takeAllIn(taken, true);
    say(`file ${file.name}`, [
      `${file.name}: ${counted(taken.length, "mark")} read, ${added.length} new, ${same.length} as here`,
      changed.length ? `${changed.length} newer than here and taken over: ${listed(changed)}` : "",
      kept.length ? `${kept.length} older than here and left: ${listed(kept)}` : "",
      unfit.length ? `${unfit.length} of other or changed pairs and left` : "",
    ].filter(Boolean).join("; "));
    saveMarks();
    marksChanged();
  } catch (error) {
    say(`file ${file.name}`, `${file.name} cannot be read: ${error.message}`);
  }
}

element("export").addEventListener("click", exportMarks);
element("import").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", async (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  for (const file of files) await importMarks(file);
});

// The index of a review of several pages: how far each of them is.

let first = 0;
for (const part of page.pages) {
  part.records = records.slice(first, first + part.pairs);
  first += part.pairs;
}

function countsOf(some) {
  const counts = { accept: 0, reject: 0, open: 0 };
  for (const record of some) counts[markOf(record) ?? "open"] += 1;
  return counts;
}

function linkTo(part) {
  const link = make("a", `page ${page.pages.indexOf(part) + 1} of ${page.pages.length}`);
  link.href = part.address;
  return link;
}

function marksChanged() {
  const rows = page.pages.map((part) => {
    const { accept, reject, open } = countsOf(part.records);
    part.open = open;
    const row = make("tr");
    const cell = make("td");
    cell.append(linkTo(part));
    row.append(cell, ...[part.pairs, accept, reject, open].map((number) => make("td", number.toLocaleString("en"))));
    return row;
  });
  element("pages").replaceChildren(...rows);
  const { accept, reject, open } = countsOf(records);
  const many = (number) => number.toLocaleString("en");
  element("counts").textContent = `${many(accept)} accepted, ${many(reject)} rejected, ${many(open)} undecided`;
  const next = page.pages.find((part) => part.open);
  const words = next ? ["Go on with ", linkTo(next), "."] : ["Every pair is decided. Export the marks."];
  element("go-on").replaceChildren(...words);
}

startMarks();
window.addEventListener("focus", () => {
  loadMarks();
  marksChanged();
});
marksChanged();

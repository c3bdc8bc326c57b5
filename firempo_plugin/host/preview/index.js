// The index of rows on several pages: which rows are where, and how many of them cannot be used.

const page = takeData("page-data");
const sum = (name) => page.pages.reduce((total, part) => total + part[name], 0);

element("summary").textContent =
  `${counted(sum("rows"), "row")} on ${counted(page.pages.length, "page")}; ${sum("problems").toLocaleString("en")} cannot be used.`;
element("note").textContent = page.note;
element("note").hidden = !page.note;
element("pages").append(
  ...page.pages.map((part, index) => {
    const link = make("a", `page ${index + 1} of ${page.pages.length}`);
    link.href = part.address;
    const cell = make("td");
    cell.append(link);
    const reasons = make("td", part.problems.toLocaleString("en"));
    for (const [kind, number] of part.kinds) reasons.append(make("div", `${number.toLocaleString("en")} × ${kind}`));
    const row = make("tr");
    row.append(cell, make("td", part.rows.toLocaleString("en")), make("td", `${part.first} – ${part.last}`), reasons);
    return row;
  }),
);

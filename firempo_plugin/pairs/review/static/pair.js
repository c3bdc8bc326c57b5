// One pair: its responses, pictures and facts.

/** `pieces` alternates between text outside and inside the phrases. */
function drawResponse(id, pieces) {
  const nodes = pieces.map((piece, place) => (place % 2 ? make("mark", piece) : document.createTextNode(visible(piece))));
  if (pieces.length < 2) nodes.push(make("span", "  (no phrase on this side)", "none"));
  element(id).replaceChildren(...nodes);
}

const SVG = "http://www.w3.org/2000/svg";

/** A picture that the viewer opens; `part` is the viewer's name of it. */
function drawFrame(picture, part, image, caption) {
  const figure = make("figure");
  if (picture.index === null) {
    figure.append(make("p", picture.problem, "unread"), make("figcaption", caption));
    return figure;
  }
  const frame = make("button", "", "frame firempo-open");
  frame.setAttribute("aria-label", `${caption}: full resolution`);
  const { index, ...about } = picture;
  frame.append(drawPicture(index, caption, { part, ...about }));
  if (image.outline) {
    const svg = document.createElementNS(SVG, "svg");
    const path = document.createElementNS(SVG, "path");
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
    row.dataset.firempoView = "";
    row.append(drawFrame(image.clean, "clean", image, "clean"));
    if (image.noised) row.append(drawFrame(image.noised, "noised", image, caption));
    return row;
  });
  replacePictures(element("pictures"), rows);
}

/** The statements of the report that the pair is about one of: how each is marked, and the way to it. */
function drawFindings({ finding }) {
  element("findings").hidden = !finding;
  if (!finding) return;
  const here = reports.get(finding.of);
  const buttons = here.map((record) => {
    const { number, right, wrong } = record.finding;
    const state = markOf(record);
    const button = make("button", `${number} ${SIGNS[state] ?? "·"} ${right}`);
    button.title = `${right} → ${wrong}`;
    button.setAttribute("aria-label", `finding ${number}, ${STATES[state] ?? "undecided"}: ${right}`);
    if (record.finding === finding) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => goTo(record));
    return button;
  });
  const elsewhere = finding.among - here.length;
  const count = make("span", `finding ${finding.number} of ${finding.among}`);
  element("findings").replaceChildren(count, ...buttons, ...(elsewhere ? [make("span", `${elsewhere} not on this page`)] : []));
}

function drawDetail() {
  const record = shown[current];
  element("detail").hidden = !record;
  element("nothing").hidden = Boolean(record);
  if (!record) return;
  const mark = marks.get(record.id);
  const states = { accept: mark?.mark === "accept", reject: mark?.mark === "reject", undo: !mark?.mark };
  for (const [name, state] of Object.entries(states)) element(name).setAttribute("aria-pressed", state);
  element("place").textContent = `${current + 1} of ${shown.length}`;
  if (element("reason").value !== (mark?.reason ?? "")) element("reason").value = mark?.reason ?? "";
  element("reason").disabled = !states.reject;
  drawFindings(record);
  if (element("detail").dataset.id === record.id) return;
  element("detail").dataset.id = record.id;
  element("detail").scrollTop = 0;
  for (const id of ["question", "texts"]) element(id).lang = record.facts.language;
  element("question").textContent = visible(record.question);
  element("truth").textContent = visible(record.truth);
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

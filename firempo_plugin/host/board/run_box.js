// From the card of a run that failed to the field that it names: what is folded around it opens, and it takes the focus.

() => {
  const field = document.getElementById(document.querySelector("#fire_card [data-field]").dataset.field);
  for (let around = field.parentElement; around; around = around.parentElement) {
    if (getComputedStyle(around).display === "none") around.parentElement.querySelector(":scope > .label-wrap")?.click();
  }
  setTimeout(() => {
    field.scrollIntoView({ block: "center" });
    field.querySelector("input, textarea")?.focus({ preventScroll: true });
  });
}

"use strict";
// Hides the rows of a table that are not asked for. A form names its table in data-filter; each of
// its choices names an attribute of the rows, data-NAME, which holds one or several words. What is
// chosen is kept in the address, as in page.html#rows?turn=2&signal=flag, so that it can be shared.
for (const form of document.querySelectorAll("form[data-filter]")) {
  const table = form.dataset.filter;
  const rows = Array.from(document.querySelectorAll("#" + table + " tbody tr"));
  const choices = Array.from(form.querySelectorAll("select"));
  const said = form.querySelector("output");

  const show = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = !choices.every((choice) =>
        choice.value === "" || row.dataset[choice.name].split(" ").includes(choice.value));
      shown += row.hidden ? 0 : 1;
    }
    said.textContent = shown + " of " + rows.length + " rows";
  };

  const remember = () => {
    const wanted = choices.filter((choice) => choice.value !== "")
      .map((choice) => choice.name + "=" + choice.value).join("&");
    try {
      history.replaceState(null, "", "#" + table + (wanted ? "?" + wanted : ""));
    } catch (refused) {
      // Some browsers keep the address of a local file as it is; the table is filtered anyway.
    }
  };

  const recall = () => {
    const [where, wanted] = location.hash.slice(1).split("?");
    if (where !== table) return;
    const asked = new URLSearchParams(wanted);
    for (const choice of choices) {
      choice.value = asked.get(choice.name) || "";
      if (choice.selectedIndex < 0) choice.value = "";
    }
    const around = form.closest("details");
    if (around) around.open = true;
    if (wanted) form.scrollIntoView();
  };

  form.addEventListener("change", () => { show(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { show(); remember(); }));
  window.addEventListener("hashchange", () => { recall(); show(); });
  form.hidden = false;
  recall();
  show();
}

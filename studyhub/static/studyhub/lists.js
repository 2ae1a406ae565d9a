/* The lists of the back office on a phone, where each row stands as a block: a cell says which column it is of, and the
   filters, which stand above the rows then, begin folded. How it looks is back_office.css's. */
"use strict";

(() => {
  const table = document.getElementById("result_list");
  if (table?.tHead) {
    const heads = [...table.tHead.rows[0].cells];
    const labels = heads.map((head) => head.querySelector(".text")?.textContent.trim() ?? "");
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, place) => {
        cell.dataset.label = labels[place] ?? "";
        cell.toggleAttribute("data-empty", /^[-–]?$/.test(cell.textContent.trim()) && !cell.querySelector("input, img"));
      });
    }
    const all = document.getElementById("action-toggle");
    if (all) all.closest("th").dataset.label = all.getAttribute("aria-label") ?? "";
  }

  /* The label that it has is a picture. */
  const search = document.getElementById("searchbar");
  search?.setAttribute("aria-label", search.form.querySelector("[type=submit]").value);

  /* Whoever has unfolded one finds it unfolded: the admin remembers that for as long as the tab is open. */
  if (matchMedia("(max-width: 767px)").matches) {
    const kept = JSON.parse(sessionStorage.getItem("django.admin.filtersState")) ?? {};
    for (const filter of document.querySelectorAll("#changelist-filter details")) {
      if (!(filter.dataset.filterTitle in kept)) filter.open = false;
    }
  }
  document.documentElement.dataset.filters = "folded";
})();

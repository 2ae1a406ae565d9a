/* Names, for those who do not see the form, of what Django's scripts build into it. */
"use strict";

(() => {
  const nameBoxes = () => {
    for (const box of document.querySelectorAll(".select2-selection")) {
      const select = box.closest(".select2").previousElementSibling;
      const label = select?.labels?.[0];
      if (!label) continue;
      label.id ||= `${select.id}_label`;
      const value = box.querySelector(".select2-selection__rendered");
      box.setAttribute("aria-labelledby", `${label.id} ${value.id}`);
      value.setAttribute("aria-labelledby", label.id);
    }
  };
  const nameHints = () => {
    for (const hint of document.querySelectorAll(".help-tooltip[aria-label]")) hint.setAttribute("role", "img");
  };
  /* Each after the script whose work it is, which has asked to be called before. */
  window.django?.jQuery?.(nameBoxes);
  addEventListener("load", nameHints);
})();

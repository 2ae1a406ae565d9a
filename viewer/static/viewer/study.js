// Keys for the study page: Space shows the answer, 1 to 4 rate. Without this file the page works by pointer and Tab.
"use strict";

const answer = document.getElementById("answer");
const form = answer && answer.querySelector("form.rate");

if (form) {
  const buttons = Array.from(form.querySelectorAll("button[name=outcome]"));

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === " ") {
      // A focused control does what it always does with Space; open, the page scrolls as always.
      if (answer.open || event.target.closest("a, button, summary")) return;
      event.preventDefault();
      answer.open = true;
    } else if (answer.open && /^[1-4]$/.test(event.key)) {
      event.preventDefault();
      buttons[Number(event.key) - 1].click();
    }
  });

  // Focus follows the answer, so that a screen reader goes on reading there and Tab reaches the ratings.
  answer.addEventListener("toggle", () => {
    if (answer.open) answer.querySelector(".back").focus();
  });

  // The server counts a form once however often it comes; this only keeps a second tap from waiting for it.
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
    form.setAttribute("aria-busy", "true");
  });
  // Coming back with the browser's Back button shows the page as it was left.
  window.addEventListener("pageshow", () => {
    sent = false;
    form.removeAttribute("aria-busy");
  });
}

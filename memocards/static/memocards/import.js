/* An import that is on its way: the page is asked again, ever less often, until there is something else to see. */
"use strict";

(() => {
  const SOONEST = 500;
  const LATEST = 5000;
  const progress = document.getElementById("import-progress");
  const address = progress.dataset.address;
  let pause = SOONEST;

  const look = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(`${address}?look`);
        if (answer.status === 204 || answer.redirected) {
          location.replace(address);
          return;
        }
        if (answer.ok) {
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          const [old, now] = [progress, page].map((part) => part.querySelector("#import-status"));
          if (old.textContent !== now.textContent) old.textContent = now.textContent;
        }
      } catch {
        // The hub is away. The next look tells.
      }
      pause = Math.min(pause * 1.3, LATEST);
    }
    setTimeout(look, pause);
  };

  setTimeout(look, pause);
})();

/* The review desk. Decisions go out one after the other, and the next row is shown without waiting for the answer:
   it is on the page already, and claimed. What the hub refuses comes back to the front of the line. */
"use strict";

(() => {
  const desk = document.getElementById("desk");
  const place = document.getElementById("desk-item");
  const message = document.getElementById("desk-message");
  const RENEW_EVERY_MS = 60000;
  const IDLE_AFTER_MS = 4 * 60000;

  /* The rows of this page, the first of which is shown. */
  const rows = [place.firstElementChild, ...desk.querySelectorAll("template.desk-next")]
    .filter(Boolean)
    .map((row) => (row instanceof HTMLTemplateElement ? row.content.firstElementChild : row));
  let done = Number(desk.dataset.done);
  let left = Number(desk.dataset.left);
  /* Decided here, but not there yet: none of them comes again as a next one. */
  const underWay = new Set();
  let skipped = desk.dataset.skipped.split(" ").filter(Boolean);
  let last = null;
  let busy = Promise.resolve();
  let waiting = 0;
  let active = Date.now();

  const key = (row) => row.dataset.key;
  const held = () => rows.map(key).join(" ");
  const editing = () => Boolean(place.querySelector(".desk-edit[open], .desk-reason[open]"));

  function address() {
    const query = new URLSearchParams(desk.dataset.query);
    query.delete("done");
    query.delete("skipped");
    if (done) query.set("done", done);
    if (skipped.length) query.set("skipped", skipped.join(" "));
    const text = query.toString();
    return desk.dataset.url + (text ? `?${text}` : "");
  }

  function say(text, level, undo) {
    message.className = `desk-message ${text ? `desk-message-${level}` : ""}`;
    message.replaceChildren(text);
    if (undo) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      button.append(`${desk.dataset.undo} `);
      const shown = document.createElement("kbd");
      shown.textContent = "U";
      button.append(shown);
      button.addEventListener("click", takeBack);
      message.append(" ", button);
    }
  }

  function show() {
    const row = rows[0] || null;
    if (place.firstElementChild !== row) {
      place.replaceChildren(...(row ? [row] : []));
      if (row) window.scrollTo({ top: 0 });
    }
    desk.toggleAttribute("data-busy", waiting > 0);
    document.getElementById("desk-done").textContent = done;
    document.getElementById("desk-left").textContent = left;
    const bar = document.getElementById("desk-bar");
    bar.max = done + left || 1;
    bar.value = done;
    document.getElementById("desk-empty").hidden = Boolean(row) || waiting > 0;
    document.getElementById("desk-others").hidden = !left;
    const again = new URL(address(), location.href);
    again.searchParams.delete("skipped");
    document.getElementById("desk-again").href = again;
    history.replaceState(null, "", address());
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  function append(html) {
    const row = parsed(html);
    if (!rows.some((other) => key(other) === key(row))) rows.push(row);
  }

  /* To the front, but not over what the reviewer is writing. */
  function bringBack(html) {
    const row = parsed(html);
    const at = rows.findIndex((other) => key(other) === key(row));
    if (at >= 0) rows.splice(at, 1);
    rows.splice(at !== 0 && editing() ? 1 : 0, 0, row);
  }

  async function post(data) {
    data.set("skipped", [...new Set([...skipped, ...underWay])].join(" "));
    data.set("held", held());
    data.set("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
    const response = await fetch(address(), {
      method: "POST",
      body: new URLSearchParams(data),
      headers: { Accept: "application/json" },
      redirect: "error",
    });
    if (![200, 409, 422].includes(response.status)) throw new Error(String(response.status));
    return response.json();
  }

  /* One after the other; `lost` runs where no answer came. */
  function send(make, answered, lost) {
    waiting += 1;
    busy = busy.then(async () => {
      try {
        answered(await post(make()));
      } catch (error) {
        console.warn(error);
        lost();
        say(desk.dataset.away, "error");
      }
      waiting -= 1;
      show();
    });
  }

  function decide(form, action) {
    const row = form.closest("article");
    const data = new FormData(form);
    data.set("action", action);
    const stays = action === "save";
    if (!stays) {
      underWay.add(key(row));
      rows.splice(rows.indexOf(row), 1);
      if (action === "skip") skipped.push(key(row));
      else { done += 1; left = Math.max(left - 1, 0); }
      say("", "");
    }
    send(
      () => data,
      (answer) => {
        underWay.delete(key(row));
        if (answer.item) {
          if (!stays) { done -= 1; }
          bringBack(answer.item);
          if (answer.text || !stays) say(answer.text || "", answer.level);
        } else if (stays) {
          rows.splice(rows.indexOf(row), 1);
        } else if (action !== "skip" && !answer.undo) {
          done -= 1;
        }
        left = answer.left;
        answer.next.forEach(append);
        if (!answer.item) {
          last = answer.undo || last;
          say(answer.text, answer.level, answer.undo);
        }
      },
      () => {
        if (stays) return;
        underWay.delete(key(row));
        rows.unshift(row);
        if (action === "skip") skipped = skipped.filter((other) => other !== key(row));
        else { done -= 1; left += 1; }
      },
    );
    show();
  }

  function takeBack() {
    /* After whatever is on its way: that decides what the last decision is. */
    send(
      () => {
        const data = new FormData();
        data.set("action", "undo");
        data.set("key", last ? last.key : "");
        data.set("undo", last ? last.action : "");
        return data;
      },
      (answer) => {
        last = null;
        left = answer.left;
        if (answer.item) {
          done = Math.max(done - 1, 0);
          bringBack(answer.item);
          say("", "");
        } else {
          answer.next.forEach(append);
          say(answer.text, answer.level);
        }
      },
      () => {},
    );
  }

  desk.addEventListener("submit", (event) => {
    if (!event.target.matches(".desk-form")) return;
    event.preventDefault();
    /* Enter in the field of the reason means that reason; the first button of the form is another. */
    const inReason = document.activeElement && document.activeElement.name === "reason";
    const clicked = event.submitter && event.submitter !== event.target.querySelector("[name=action]");
    decide(event.target, inReason && !clicked ? "send_back" : (event.submitter || {}).value || "save");
  });

  desk.addEventListener("toggle", (event) => {
    if (!event.target.open) return;
    if (event.target.matches(".desk-edit")) event.target.querySelector("textarea, input:not([type=hidden])").focus();
    if (event.target.matches(".desk-reason")) event.target.querySelector("[name=reason]").focus();
  }, true);

  /* By the letter; under a Korean or other keyboard, where the letter is no Latin one, by the place of its key. */
  function letter(event) {
    if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
    const place = /^Key([A-Z])$/.exec(event.code);
    return place && event.key.length === 1 && event.key > "\u007f" ? place[1].toLowerCase() : "";
  }

  document.addEventListener("keydown", (event) => {
    active = Date.now();
    const form = place.querySelector(".desk-form");
    const inField = event.target.closest("input:not([type=hidden]), textarea, select");
    if (event.key === "Escape" && form) {
      form.querySelectorAll("details[open]").forEach((details) => { details.open = false; });
      if (document.activeElement) document.activeElement.blur();
      return;
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && inField && form && !event.isComposing) {
      if (form.contains(inField) && inField.closest(".desk-edit") && form.querySelector("[value=save]")) {
        event.preventDefault();
        decide(form, "save");
      }
      return;
    }
    if (inField || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
    const pressed = letter(event);
    if (pressed === "u") {
      event.preventDefault();
      takeBack();
      return;
    }
    if (!form) return;
    const acts = { a: "approve", d: "delete", n: "skip" };
    if (acts[pressed] && form.querySelector(`[name=action][value=${acts[pressed]}]`)) {
      event.preventDefault();
      decide(form, acts[pressed]);
    } else if (pressed === "e" || pressed === "s") {
      const details = form.querySelector(pressed === "e" ? ".desk-edit:not([hidden])" : ".desk-reason");
      if (!details) return;
      event.preventDefault();
      details.open = true;
    }
  });

  for (const kind of ["pointerdown", "input"]) document.addEventListener(kind, () => { active = Date.now(); });

  /* A claim lasts some minutes. It is renewed while somebody works here, and let go when nobody does. */
  async function renew() {
    if (!rows.length) return;
    const data = new FormData();
    data.set("action", "renew");
    const asked = rows.map(key);
    const still = (await post(data)).held;
    const gone = asked.filter((one) => !still.includes(one));
    if (!gone.length) return;
    const shown = rows[0] && gone.includes(key(rows[0]));
    for (let at = rows.length - 1; at >= 0; at -= 1) {
      if (gone.includes(key(rows[at]))) rows.splice(at, 1);
    }
    if (shown) say(desk.dataset.lost, "warning");
    if (!rows.length) location.reload();
    show();
  }

  const quietly = () => renew().catch((error) => console.warn(error));
  setInterval(() => {
    if (Date.now() - active < IDLE_AFTER_MS) busy = busy.then(quietly);
  }, RENEW_EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") {
      active = Date.now();
      busy = busy.then(quietly);
    }
  });

  show();
})();

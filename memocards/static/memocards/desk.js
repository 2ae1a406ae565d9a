/* The review desk. Decisions go out one after the other, and the next row is shown without waiting for the answer:
   it is on the page already, and claimed.

   No key decides what was not read. By itself only the expected next row comes on screen, or what the reviewer took
   back. A row whose decision failed lines up behind the one on screen, and takes none before the reviewer says that
   they have read it. A row that is lost stays on screen with all that was written into it, until they go on. */
"use strict";

(() => {
  const desk = document.getElementById("desk");
  const place = document.getElementById("desk-item");
  const message = document.getElementById("desk-message");
  const texts = desk.dataset;
  const RENEW_EVERY_MS = 60000;
  const IDLE_AFTER_MS = 4 * 60000;
  /* Of what outlives its page a browser sends 64 KiB. */
  const KEEPS_ALIVE = 60000;

  /* The rows of this page, the first of which is shown. Of their data attributes, `returned` says that the row came
     back and was not read yet, `over` that it is no longer this reviewer's, `then` what follows once it is saved. */
  const rows = [place.firstElementChild, ...desk.querySelectorAll("template.desk-next")]
    .filter(Boolean)
    .map((row) => (row instanceof HTMLTemplateElement ? row.content.firstElementChild : row));
  let done = Number(texts.done);
  let left = Number(texts.left);
  let skipped = Number(texts.skipped);
  /* Decided here, but not there yet: none of them comes again as a next one. */
  const underWay = new Set();
  let last = null;
  let takingBack = false;
  let active = Date.now();

  const key = (row) => row.dataset.key;
  const has = (row, state) => row.dataset[state] !== undefined;
  const saving = (row) => row.getAttribute("aria-busy") === "true";
  const held = () => rows.filter((row) => !has(row, "over")).map(key).join(" ");
  const fields = (within) => [...within.querySelectorAll("textarea, input:not([type=hidden])")];
  const reasonOf = (row) => row.querySelector("[name=reason]");

  function edited(row) {
    const edit = row.querySelector(".desk-edit");
    return edit.dataset.unsaved !== undefined || fields(edit).some((field) => field.value !== field.defaultValue);
  }

  const written = (row) => edited(row) || reasonOf(row).value.trim() !== "";

  function address() {
    const query = new URLSearchParams(texts.query);
    query.delete("done");
    if (done) query.set("done", done);
    const text = query.toString();
    return texts.url + (text ? `?${text}` : "");
  }

  function keyCap(name) {
    const cap = document.createElement("kbd");
    cap.textContent = name;
    return cap;
  }

  function button(label, shownKey, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "button";
    made.append(`${label} `, keyCap(shownKey));
    made.addEventListener("click", act);
    return made;
  }

  function say(text, level, ...behind) {
    message.className = `desk-message ${text ? `desk-message-${level}` : ""}`;
    message.replaceChildren(text, ...behind);
  }

  function show() {
    const row = rows[0] || null;
    if (place.firstElementChild !== row) {
      place.replaceChildren(...(row ? [row] : []));
      if (row) window.scrollTo({ top: 0 });
    }
    const busy = waiting();
    desk.toggleAttribute("data-busy", busy);
    document.getElementById("desk-done").textContent = done;
    document.getElementById("desk-left").textContent = left;
    const bar = document.getElementById("desk-bar");
    bar.max = done + left || 1;
    bar.value = done;
    document.getElementById("desk-empty").hidden = Boolean(row) || busy;
    document.getElementById("desk-others").hidden = !left;
    document.getElementById("desk-skipped").textContent = skipped;
    const again = new URL(address(), location.href);
    again.searchParams.set("again", "1");
    for (const link of document.querySelectorAll(".desk-again")) link.href = again;
    document.querySelector(".desk-skipped").hidden = !skipped;
    history.replaceState(null, "", address());
  }

  /* What can be done with a row, by its state. */
  function settle(row) {
    const shut = has(row, "over") || saving(row);
    fields(row).forEach((field) => { field.readOnly = shut; });
    row.querySelectorAll("[name=action]").forEach((one) => {
      one.disabled = shut || (has(row, "returned") && one.value !== "save");
    });
    const mayOpen = !has(row, "returned") && !has(row, "over");
    row.querySelector(".desk-reason > summary").setAttribute("aria-disabled", String(!mayOpen));
  }

  function tell(row, text, ...buttons) {
    row.querySelector(".desk-told")?.remove();
    const box = document.createElement("div");
    box.className = "desk-notice desk-notice-strong desk-told";
    box.setAttribute("role", "alert");
    const sentence = document.createElement("p");
    sentence.dir = "auto";
    sentence.textContent = text;
    box.append(sentence, ...buttons);
    row.querySelector(".study-text").before(box);
    if (row.isConnected) box.scrollIntoView({ block: "nearest" });
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

  /* Next in line: never over what is on screen. */
  function lineUp(row) {
    const at = rows.findIndex((other) => key(other) === key(row));
    if (at === 0) return;
    if (at > 0) rows.splice(at, 1);
    rows.splice(rows.length ? 1 : 0, 0, row);
  }

  /* To be read before it can be decided. */
  function setAside(row) {
    row.dataset.returned = "";
    settle(row);
    tell(row, texts.returned, button(texts.read, "↵", () => wake(row)));
  }

  function wake(row) {
    delete row.dataset.returned;
    settle(row);
    row.querySelector(".desk-told").remove();
  }

  function comeBack(row) {
    setAside(row);
    lineUp(row);
    if (rows[0] !== row) say(texts.behind, "warning");
  }

  /* Somebody else has the row, or decided it. */
  function giveUp(row, why) {
    row.dataset.over = "";
    delete row.dataset.returned;
    row.removeAttribute("aria-busy");
    settle(row);
    tell(row, why, button(texts.onward, "N", () => goOn(row)));
  }

  function goOn(row) {
    if (written(row) && !window.confirm(texts.drop)) return;
    rows.splice(rows.indexOf(row), 1);
    more();
    show();
  }

  /* Sending */

  const queue = [];
  let running = false;

  /* Apart from renewals, of which nobody need know. */
  const waiting = () => queue.some((task) => !task.quiet);

  class LoggedOut extends Error {}

  const tokenIn = (page) => page.querySelector("#logout-form [name=csrfmiddlewaretoken]").value;
  let token = tokenIn(document);

  /* Whoever logs in again in another tab gets another token. No script can read its cookie: any page has it. */
  async function renewToken() {
    const response = await fetch(texts.indexUrl, { redirect: "manual" });
    if (!response.ok) throw new LoggedOut();
    token = tokenIn(new DOMParser().parseFromString(await response.text(), "text/html"));
  }

  function postWithToken(data) {
    data.set("csrfmiddlewaretoken", token);
    const body = new URLSearchParams(data).toString();
    return fetch(address(), {
      method: "POST",
      body,
      headers: { Accept: "application/json", "Content-Type": "application/x-www-form-urlencoded" },
      redirect: "manual",
      keepalive: body.length < KEEPS_ALIVE,
    });
  }

  async function post(data) {
    data.set("under_way", [...underWay].join(" "));
    data.set("held", held());
    let response = await postWithToken(data);
    if (response.status === 403) {
      await renewToken();
      response = await postWithToken(data);
    }
    if (response.type === "opaqueredirect" || response.status === 403) throw new LoggedOut();
    if (![200, 409, 422].includes(response.status)) throw new Error(String(response.status));
    return { ...(await response.json()), status: response.status };
  }

  function complain(error) {
    console.warn(error);
    const text = error instanceof LoggedOut ? texts.out : texts.away;
    const line = rows.length > 1 && has(rows[1], "returned") ? `${text} ${texts.behind}` : text;
    if (error instanceof LoggedOut) {
      const link = document.createElement("a");
      link.href = texts.loginUrl;
      link.target = "_blank";
      link.rel = "noopener";
      link.textContent = texts.login;
      say(line, "error", link);
    } else say(line, "error");
  }

  /* One after the other. A task makes its data when its turn comes, or null where nothing is to be sent; `lost` runs
     where no answer came. */
  async function send(task) {
    queue.push(task);
    if (running) return;
    running = true;
    try {
      while (queue.length) await sendOne(queue[0]);
    } finally {
      running = false;
    }
  }

  async function sendOne(task) {
    task.sent = true;
    const data = task.make();
    let answer = null;
    let error = null;
    if (data) await post(data).then((found) => { answer = found; }, (found) => { error = found; });
    queue.shift();
    if (answer) task.answered(answer);
    else task.lost();
    if (error && !task.quiet) complain(error);
    show();
  }

  function asking(action, more = {}) {
    const data = new FormData();
    for (const [name, value] of Object.entries({ action, ...more })) data.set(name, value);
    return data;
  }

  function decide(row, action) {
    if (takingBack || (has(row, "returned") && action !== "save")) return;
    if (has(row, "over")) {
      if (action === "skip") goOn(row);
      return;
    }
    if (saving(row)) {
      if (action !== "save") row.dataset.then = action;
      return;
    }
    if (["skip", "delete"].includes(action) && written(row) && !window.confirm(texts.drop)) return;
    if (action === "send_back" && !reasonOf(row).value.trim()) {
      say(texts.reason, "warning");
      open(row.querySelector(".desk-reason"));
      return;
    }
    const data = new FormData(row.querySelector("form"));
    data.set("action", action);
    if (action === "save") save(row, data);
    else sendOff(row, data, action);
    show();
  }

  function save(row, data) {
    row.setAttribute("aria-busy", "true");
    settle(row);
    const unlock = () => {
      row.removeAttribute("aria-busy");
      delete row.dataset.then;
      settle(row);
    };
    send({
      make: () => data,
      answered(answer) {
        const then = row.dataset.then;
        unlock();
        left = answer.left;
        if (!answer.item) {
          giveUp(row, answer.text);
          answer.next.forEach(append);
          return;
        }
        const fresh = parsed(answer.item);
        if (answer.status !== 200 || has(row, "returned")) setAside(fresh);
        swap(row, fresh);
        if (then && answer.status === 200) decide(fresh, then);
      },
      lost: unlock,
    });
  }

  /* The same row, newly made. Whoever is in a field stays there: what they go on typing is no command. */
  function swap(row, fresh) {
    const field = row.contains(document.activeElement) && fields(row).find((one) => one === document.activeElement);
    const same = field && fresh.querySelector(`[name="${field.name}"]`);
    const [start, end] = field ? [field.selectionStart, field.selectionEnd] : [null, null];
    rows[rows.indexOf(row)] = fresh;
    show();
    if (!same) {
      say("", "");
      return;
    }
    same.closest("details").open = true;
    same.focus({ preventScroll: true });
    if (start !== null) same.setSelectionRange(start, end);
    if (has(fresh, "returned")) return;
    const hint = document.createElement("span");
    hint.className = "desk-hint";
    hint.append(keyCap("Esc"), ` ${texts.leave}`);
    say(texts.saved, "success", hint);
  }

  function sendOff(row, data, action) {
    underWay.add(key(row));
    rows.splice(rows.indexOf(row), 1);
    say("", "");
    send({
      make: () => data,
      answered(answer) {
        underWay.delete(key(row));
        left = answer.left;
        answer.next.forEach(append);
        if (answer.item) {
          comeBack(parsed(answer.item));
          return;
        }
        if (action === "skip") skipped += 1;
        if (answer.undo) {
          done += 1;
          last = answer.undo;
          say(answer.text, answer.level, button(texts.undo, "U", takeBack));
          return;
        }
        say(answer.text, answer.level);
        if (["approve", "send_back"].includes(action) && written(row)) {
          giveUp(row, answer.text);
          lineUp(row);
        }
      },
      lost() {
        underWay.delete(key(row));
        comeBack(row);
      },
    });
  }

  function takeBack() {
    if (takingBack) return;
    if (!last && !waiting()) {
      say(texts.nothing, "warning");
      return;
    }
    /* Until then no key counts: the reviewer expects another row than the one on screen. */
    takingBack = true;
    send({
      /* After whatever is on its way: that decides what the last decision is. */
      make() {
        if (!last) say(texts.nothing, "warning");
        return last && asking("undo", { key: last.key, undo: last.action });
      },
      answered(answer) {
        takingBack = false;
        last = null;
        left = answer.left;
        answer.next.forEach(append);
        say(answer.text, answer.level);
        if (!answer.item) return;
        done = Math.max(done - 1, 0);
        const row = parsed(answer.item);
        const [shown] = rows;
        const inUse = shown && (written(shown) || saving(shown) || shown.querySelector("details[open]"));
        if (inUse) comeBack(row);
        else rows.unshift(row);
      },
      lost() { takingBack = false; },
    });
    show();
  }

  function more() {
    send({
      make: () => asking("next"),
      answered(answer) {
        left = answer.left;
        answer.next.forEach(append);
      },
      lost() {},
    });
  }

  /* A claim lasts some minutes. It is renewed while somebody works here, and let go when nobody does. */
  function renew() {
    send({
      quiet: true,
      make: () => (rows.length ? asking("renew") : null),
      answered({ gone }) {
        const lost = rows.filter((row) => gone[key(row)] && !has(row, "over"));
        for (const row of lost) {
          if (row === rows[0] || written(row)) giveUp(row, gone[key(row)]);
          else rows.splice(rows.indexOf(row), 1);
        }
        if (lost.length) more();
      },
      lost() {},
    });
  }

  /* What people do */

  function open(details) {
    details.open = true;
    fields(details)[0].focus();
  }

  desk.addEventListener("submit", (event) => {
    if (!event.target.matches(".desk-form")) return;
    event.preventDefault();
    /* The Enter key presses the form's first button, and means the field that it was pressed in. */
    const pressed = event.submitter ? event.submitter.value : "enter";
    const inReason = document.activeElement && document.activeElement.name === "reason";
    decide(event.target.closest("article"), pressed !== "enter" ? pressed : inReason ? "send_back" : "save");
  });

  place.addEventListener("click", (event) => {
    const summary = event.target.closest("summary");
    if (!summary) return;
    event.preventDefault();
    if (summary.parentElement.open) summary.parentElement.open = false;
    else open(summary.parentElement);
  });

  place.addEventListener("input", (event) => {
    const row = event.target.closest("article");
    row.querySelector(".desk-unsaved").hidden = !edited(row);
  });

  /* By the letter; under a Korean or other keyboard whose letters are no Latin ones, by the place of its key. */
  function letter(event) {
    if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
    const at = /^Key([A-Z])$/.exec(event.code);
    return at && /^(?!\p{Script=Latin})\p{L}$/u.test(event.key) ? at[1].toLowerCase() : "";
  }

  /* Out of the fields. What holds something unsaved stays open. */
  function leave(row) {
    if (row) {
      if (!edited(row)) row.querySelector(".desk-edit").open = false;
      if (!reasonOf(row).value.trim()) row.querySelector(".desk-reason").open = false;
    }
    if (document.activeElement) document.activeElement.blur();
  }

  document.addEventListener("keydown", (event) => {
    active = Date.now();
    /* 229: of a key that an input method takes for itself. */
    if (event.isComposing || event.keyCode === 229) return;
    const [row] = rows;
    const inField = event.target.closest("input:not([type=hidden]), textarea, select");
    if (event.key === "Escape") {
      leave(row);
      return;
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && inField && row) {
      if (inField.closest(".desk-edit") && row.contains(inField) && row.querySelector("[value=save]")) {
        event.preventDefault();
        decide(row, "save");
      }
      return;
    }
    const modified = event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph");
    if (inField || modified || event.repeat) return;
    if (event.key === "Enter" && row && has(row, "returned") && !event.target.closest("a, button, summary")) {
      event.preventDefault();
      wake(row);
      return;
    }
    const pressed = letter(event);
    if (pressed === "u") {
      event.preventDefault();
      takeBack();
      return;
    }
    if (!row || takingBack) return;
    const acts = { a: "approve", d: "delete", n: "skip" };
    if (acts[pressed] && row.querySelector(`[name=action][value=${acts[pressed]}]`)) {
      event.preventDefault();
      decide(row, acts[pressed]);
    } else if (pressed === "e" || (pressed === "s" && !has(row, "returned") && !has(row, "over"))) {
      const details = row.querySelector(pressed === "e" ? ".desk-edit:not([hidden])" : ".desk-reason");
      if (!details || saving(row)) return;
      event.preventDefault();
      open(details);
    }
  });

  for (const kind of ["pointerdown", "input"]) document.addEventListener(kind, () => { active = Date.now(); });

  setInterval(() => {
    if (Date.now() - active < IDLE_AFTER_MS) renew();
  }, RENEW_EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") return;
    active = Date.now();
    renew();
  });

  addEventListener("beforeunload", (event) => {
    if (waiting() || rows.some(written)) event.preventDefault();
  });
  /* Whoever leaves all the same has decided what they decided. */
  addEventListener("pagehide", () => {
    for (const task of queue.filter((one) => !one.sent && !one.quiet)) {
      const data = task.make();
      if (data) post(data).catch(() => {});
    }
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  show();
})();

"use strict";

const byId = (id) => document.getElementById(id);
const KEYS = 9;
const ENDED = "edgetl review no longer runs. What was decided is kept; start it again to go on.";
const NOT_LET_IN = "Open the address that edgetl review has printed again.";
let state = null;
let busy = false;

function element(kind, text, ...children) {
  const made = document.createElement(kind);
  made.textContent = text;
  made.append(...children);
  return made;
}

// Return what is answered; null if it is an error, which is shown.
async function answered(address, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const answer = await fetch(address, body ? post : {});
    // It runs, but the cookie is gone, or of an earlier start.
    const found = answer.status === 403 ? { error: NOT_LET_IN } : await answer.json();
    byId("error").textContent = found.error || "";
    return answer.ok ? found : null;
  } catch {
    byId("error").textContent = ENDED;
    return null;
  }
}

async function ask(address, body) {
  // One decision at a time: a key that is held down decides about one photo.
  if (busy) return;
  busy = true;
  const found = await answered(address, body);
  busy = false;
  if (found) show(found);
}

function decide(what, label) {
  if (state && state.photo) ask("/decide", { photo: state.photo.place, what, label });
}

function undo() {
  if (state && state.can_undo) ask("/undo", {});
}

function labelButton(label, number) {
  const suggested = state.photo.suggested.findIndex((one) => one.label === label);
  const button = element("button", `${label} `);
  button.type = "button";
  if (suggested >= 0) {
    const share = element("span", `${Math.round(100 * state.photo.suggested[suggested].probability)}% `);
    share.className = "share";
    button.append(share);
  }
  if (suggested === 0) button.className = "suggested";
  if (number < KEYS) button.append(element("kbd", String(number + 1)));
  button.addEventListener("click", () => decide("label", label));
  return button;
}

function neighbour(one) {
  const picture = document.createElement("img");
  picture.src = `/training/${one.place}`;
  picture.alt = `training photo of ${one.label}`;
  const figure = document.createElement("figure");
  figure.append(picture, element("figcaption", one.label));
  return figure;
}

function show(found) {
  state = found;
  const { total, labelled, rejected, left, photo } = found;
  byId("progress").textContent = `${left} of ${total} left, ${labelled} labelled, ${rejected} left out`;
  byId("bar").max = total;
  byId("bar").value = total - left;
  byId("table").textContent = found.table;
  byId("undo").disabled = !found.can_undo;
  document.querySelector("main").hidden = !photo;
  byId("end").hidden = Boolean(photo);
  if (!photo) {
    byId("result").textContent = `Every photo is decided about: ${labelled} labelled, ${rejected} left out.`;
    byId("end").append(byId("undo"));
    return;
  }
  byId("actions").append(byId("undo"));
  byId("broken").textContent = "";
  byId("photo").src = `/photos/${photo.place}`;
  byId("photo").alt = photo.path;
  byId("path").textContent = photo.path;
  byId("labels").replaceChildren(...found.labels.map(labelButton));
  byId("near").hidden = photo.neighbours.length === 0;
  byId("neighbours").replaceChildren(...photo.neighbours.map(neighbour));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !state) return;
  if (event.target === byId("name")) {
    if (event.key === "Escape") byId("name").blur();
    return;
  }
  const pressed = event.key.toLowerCase();
  // A button that has the focus takes Enter itself.
  const first = state.photo && event.target.tagName !== "BUTTON" ? state.photo.suggested[0] : undefined;
  if (/^[1-9]$/.test(pressed) && Number(pressed) <= state.labels.length) decide("label", state.labels[pressed - 1]);
  else if (pressed === "enter" && first) decide("label", first.label);
  else if (pressed === "s") decide("skip");
  else if (pressed === "x") decide("reject");
  else if (pressed === "u") undo();
  else if (pressed === "n" && state.photo) byId("name").focus();
  else return;
  event.preventDefault();
});

byId("photo").addEventListener("error", () => {
  byId("broken").textContent = "cannot be read";
});
byId("other").addEventListener("submit", (event) => {
  event.preventDefault();
  decide("label", byId("name").value);
  byId("name").value = "";
  byId("name").blur();
});
byId("skip").addEventListener("click", () => decide("skip"));
byId("reject").addEventListener("click", () => decide("reject"));
byId("undo").addEventListener("click", undo);
byId("done").addEventListener("click", async () => {
  if (!(await answered("/done", {}))) return;
  document.querySelector("main").hidden = true;
  byId("end").hidden = false;
  byId("done").hidden = true;
  byId("undo").hidden = true;
  byId("result").textContent = "Done. This page can be closed.";
});

ask("/state");

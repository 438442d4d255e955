// The search page. All that comes from the server goes into the page as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const state = { asked: {}, items: [], page: 0, pages: 0, total: 0, at: -1, picked: new Set(), about: null, one: null, lately: 0 };
const WORDS = { label: "Label", answer: "Answer of the model", survey: "Survey", place: "Place", light: "Day or night", split: "Split" };
const PLAIN = ["blank", "human", "vehicle", "unknown"];

// ---- asking -------------------------------------------------------------------------------------------------------
async function ask(path, sent) {
  const options = sent === undefined ? {} : sent instanceof Blob
    ? { method: "POST", body: sent, headers: { "x-xmodal": "1" } }
    : { method: "POST", body: JSON.stringify(sent), headers: { "x-xmodal": "1", "content-type": "application/json" } };
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("The server does not answer: is `xmodal serve` still running?"); }
  if (!answer.ok) throw new Error(await reason(answer));
  return answer;
}
const json = async (path, sent) => (await ask(path, sent)).json();

async function reason(answer) {
  const text = await answer.text();
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : detail.map((one) => `${one.loc.slice(-1)}: ${one.msg}`).join("; ");
  } catch { return text || `the server says ${answer.status}`; }
}

function said(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}
const guarded = (work) => async (...given) => { try { await work(...given); } catch (error) { said(error.message, true); } };

// ---- small makers -------------------------------------------------------------------------------------------------
function make(name, content = "", properties = {}) {
  const node = Object.assign(document.createElement(name), properties);
  if (content !== "") node.append(...[content].flat());
  return node;
}
const percent = (share) => share === null || share === undefined ? "" : `${Math.floor(share * 100)} %`;
const picture = (image) => `images/${image}.jpg`;
const count = (number) => number.toLocaleString("en");

function name(card) { return card.said ?? card.label ?? "no label"; }
function called(card) {
  return card.common_name && card.taxon ? `${card.taxon} (${card.common_name})` : card.taxon ?? card.common_name ?? card.type;
}
function answer(card) {
  if (!card.type) return "";
  return card.type === "unknown" ? "left to people" : `${called(card)}, ${percent(card.confidence)} sure`;
}

// ---- searching ----------------------------------------------------------------------------------------------------
function query(asked, page) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...asked, page: page || "" })) if (value !== "" && value !== null && value !== undefined && value !== "best") words.set(key, value);
  return words;
}

const search = guarded(async (page = 0, remember = true) => {
  const turn = ++state.lately;
  said("Searching…");
  const words = query(state.asked, page);
  const found = await json(`api/search?${words}`);
  if (turn !== state.lately) return;  // a later question has been asked
  Object.assign(state, { items: found.items, page: found.page, pages: found.pages, total: found.total, at: -1 });
  if (remember) history.pushState(null, "", words.size ? `?${words}` : location.pathname);
  said(found.total ? `${count(found.total)} images, ${found.milliseconds.toFixed(0)} ms` : "No image is left: take a filter away.");
  show();
});

function show() {
  $("grid").replaceChildren(...state.items.map(card));
  $("pages").hidden = state.pages < 2;
  $("page").textContent = `Page ${count(state.page + 1)} of ${count(state.pages)}`;
  $("before").disabled = state.page === 0;
  $("after").disabled = state.page + 1 >= state.pages;
  picked();
}

function card(item, at) {
  const image = make("img", "", { src: picture(item.image), alt: "", loading: "lazy", width: 184, height: 138 });
  const scored = state.asked.text || state.asked.like !== undefined || state.asked.upload ? `match ${item.score.toFixed(2)}` : "";
  const facts = [scored, item.captured_at?.slice(0, 16), item.light, item.split === "none" ? "" : item.split].filter(Boolean).join(" · ");
  const open = make("button", [image, make("strong", name(item), item.said ? { className: "said" } : {})], { type: "button" });
  open.append(...[answer(item), facts].filter(Boolean).map((text) => make("span", text, { className: "small" })));
  open.addEventListener("click", () => look(at));
  const box = make("input", "", { type: "checkbox", checked: state.picked.has(item.image) });
  box.addEventListener("change", () => pick(item.image, box.checked));
  const label = make("label", [make("span", `Pick image ${at + 1}: ${name(item)}`, { className: "hidden" }), box]);
  return make("li", [open, label], { className: state.picked.has(item.image) ? "card picked" : "card" });
}

// ---- picking ------------------------------------------------------------------------------------------------------
function pick(image, yes) {
  yes ? state.picked.add(image) : state.picked.delete(image);
  picked();
}
function picked() {
  const some = state.picked.size;
  $("picked").textContent = some ? `${count(some)} picked` : "";
  $("pick-none").hidden = $("label-picked").hidden = !some;
  const which = some ? "the picked images" : "all images found";
  for (const id of ["csv", "package"]) $(id).title = `Download ${which}`;
  state.items.forEach((item, at) => {
    const node = $("grid").children[at];
    if (!node) return;
    const yes = state.picked.has(item.image);
    node.classList.toggle("picked", yes);
    node.querySelector("input").checked = yes;
  });
  if (state.one) $("pick").textContent = state.picked.has(state.one.image) ? "Picked" : "Pick";
}

const take = (form, file) => guarded(async () => {
  const images = state.picked.size ? [...state.picked].sort((a, b) => a - b) : null;
  said("Packing…");
  const data = await (await ask("api/selection", { images, asked: state.asked, form })).blob();
  const link = make("a", "", { href: URL.createObjectURL(data), download: file });
  link.click();
  URL.revokeObjectURL(link.href);
  said(`${file}: ${count(images ? images.length : state.total)} images`);
});

// ---- one image ----------------------------------------------------------------------------------------------------
const look = guarded(async (at) => {
  state.at = at;
  await open(state.items[at].image);
});

async function open(image) {
  const one = await json(`api/images/${image}`);
  state.one = one;
  $("look-name").textContent = name(one);
  $("look-answer").textContent = one.type ? spoken(one) : "The model gives no answers: it was not evaluated.";
  $("look-image").src = picture(image);
  $("look-image").alt = `${name(one)}, ${one.captured_at ?? "time unknown"}`;
  $("look-image").style.aspectRatio = `${one.size[0]} / ${one.size[1]}`;
  told(one);
  choices(one);
  $("texts").replaceChildren(...one.texts.map((text) => make("li", text)));
  $("near").replaceChildren(...one.like.map(neighbour));
  await looks(one);
  picked();
  if (!$("look").open) $("look").showModal();
  $("look-name").focus();
}

function spoken(one) {
  const reason = `${one.reason[0].toUpperCase()}${one.reason.slice(1)}.`;
  return one.type === "unknown" ? reason : `The model says ${called(one)}. ${reason}`;
}

function told(one) {
  const boxes = one.boxes?.filter((box) => box.confidence >= 0.1) ?? [];
  $("look-boxes").textContent = one.boxes === null ? "No detector ran." : boxes.length
    ? `Detector: ${boxes.map((box) => `${box.class} ${percent(box.confidence)}`).join(", ")}` : "The detector found nothing.";
  const facts = { "Written by the model": one.written, Caption: one.caption, Label: one.label, "Said here": one.said, Taken: one.captured_at,
    Light: one.light, Survey: one.survey, Place: one.place, Split: one.split, Event: one.event_id, File: one.file };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([key, value]) => [make("dt", key), make("dd", String(value))]));
}

function choices(one) {
  const offered = accepted(one);
  $("accept").hidden = !offered;
  if (offered) $("accept").textContent = `Accept ${offered.shown}`;
  $("undo").hidden = !one.said;
  $("name").value = $("note").value = "";
  $("kind").value = "scientific";
  named();
}

// What is accepted: the answer, or where it is left to people what is likeliest.
function accepted(one) {
  if (!one.type) return null;
  if (one.type === "blank") return { type: "blank", shown: "blank" };
  if (one.type === "animal") {
    if (!one.taxon && !one.common_name) return { type: "animal", shown: "animal" };
    return { type: "animal", scientific_name: one.taxon ?? "", common_name: one.taxon ? "" : one.common_name, shown: one.taxon ?? one.common_name };
  }
  if (one.animal_confidence !== null && one.animal_confidence < 0.5) return { type: "blank", shown: `blank (${percent(1 - one.animal_confidence)} sure)` };
  if (!one.species) return null;
  const scientific = /^\p{Lu}\p{Ll}+ \p{Ll}/u.test(one.species);
  return { type: "animal", scientific_name: scientific ? one.species : "", common_name: scientific ? "" : one.species, shown: `${one.species} (${percent(one.species_confidence)} sure)` };
}

function neighbour(item) {
  const button = make("button", make("img", "", { src: picture(item.image), alt: name(item), loading: "lazy", title: name(item) }), { type: "button" });
  button.addEventListener("click", guarded(() => open(item.image)));
  return make("li", button);
}

// ---- boxes and attention, on a canvas over the picture ----------------------------------------------------------------
async function looks(one) {
  state.words = null;
  draw(null);
  const text = one.written || one.caption;
  $("words").hidden = true;
  if (!one.attends || !text) return;
  try { state.words = await json(`api/images/${one.image}/attention?${new URLSearchParams({ text })}`); } catch { return; }  // no map: nothing to show
  if (state.one !== one) return;
  $("word-list").replaceChildren(...state.words.words.map((word) => {
    const button = make("button", word.word, { type: "button", ariaPressed: "false" });
    button.addEventListener("click", () => {
      const on = button.ariaPressed !== "true";
      for (const other of $("word-list").children) other.ariaPressed = "false";
      button.ariaPressed = String(on);
      draw(on ? word.weights : null);
    });
    return button;
  }));
  $("words").hidden = false;
}

function draw(weights) {
  const canvas = $("look-over"), [width, height] = state.one.size, scale = 1000 / Math.max(width, height);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  if (weights) heat(pen, weights, state.words.side, canvas);
  pen.lineJoin = "round";
  for (const { box: [x, y, w, h], confidence } of state.one.boxes ?? []) {
    if (confidence < 0.1) continue;
    for (const [colour, line] of [["#000", 7], ["#fff", 3]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.strokeRect(x * canvas.width, y * canvas.height, w * canvas.width, h * canvas.height);
    }
  }
}

function heat(pen, weights, side, canvas) {
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const data = small.getContext("2d").createImageData(side, side);
  weights.forEach((weight, at) => data.data.set([255, 140, 20, Math.round(215 * weight)], 4 * at));
  small.getContext("2d").putImageData(data, 0, 0);
  pen.fillStyle = "rgba(20, 24, 22, .55)";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// ---- correcting ---------------------------------------------------------------------------------------------------
const shownAs = (label) => label.scientific_name || label.common_name || label.type;

const say = guarded(async (images, label) => {
  const sent = { ...label };
  delete sent.shown;
  const { said: all } = await json("api/labels", { images, ...sent });
  mark(images, shownAs(label));
  said(`${count(images.length)} said to be ${shownAs(label)}; ${count(all)} in ${state.about.review}`);
});

function mark(images, what) {
  const some = new Set(images);
  state.items.forEach((item, at) => {
    if (!some.has(item.image)) return;
    item.said = what;
    $("grid").children[at].replaceWith(card(item, at));
  });
  if (state.one && some.has(state.one.image)) {
    state.one.said = what;
    $("look-name").textContent = name(state.one);
    $("undo").hidden = !what;
    told(state.one);
  }
}

const undo = guarded(async (image) => {
  const { said: all } = await json("api/labels/undo", { images: [image] });
  mark([image], null);
  said(`Taken back; ${count(all)} in ${state.about.review}`);
});

function stated(kind, text, note = "") {
  if (PLAIN.includes(kind)) return { type: kind, note };
  if (!text.trim()) { said("Write the animal's name, or choose what else is on it.", true); return null; }
  return { type: "animal", [kind === "scientific" ? "scientific_name" : "common_name"]: text.trim(), note };
}
function named() { $("name").hidden = PLAIN.includes($("kind").value); }

// ---- filters ------------------------------------------------------------------------------------------------------
function filters(facets) {
  $("facets").replaceChildren(...Object.entries(WORDS).filter(([key]) => facets[key].length > 1).map(([key, words]) => {
    const options = facets[key].slice(0, 2000).map(([value, number]) => make("option", `${key === "place" ? value.slice(0, 8) : value} (${count(number)})`, { value }));
    return make("label", [words, make("select", [make("option", "all", { value: "" }), ...options], { name: key })], { className: "stacked" });
  }));
  $("names").replaceChildren(...facets.label.map(([value]) => make("option", "", { value })));
}

function narrowed() {
  const given = Object.fromEntries(new FormData($("narrow")));
  for (const key of ["least", "most"]) if (given[key] !== "") given[key] = Number(given[key]) / 100;
  const used = Object.entries(given).filter(([key, value]) => key !== "sort" && value !== "").length;
  $("filtered").textContent = used ? `${used} in use` : "";
  const { text, like, upload } = state.asked;
  state.asked = Object.fromEntries(Object.entries({ text, like, upload, ...given }).filter(([, value]) => value !== "" && value !== undefined));
}

function alike(words, source) {
  $("like").hidden = !words;
  $("like-words").textContent = words ?? "";
  if (source) $("like-image").src = source;
}

function start(more) {
  const { text, like, upload, ...rest } = state.asked;
  state.asked = { ...rest, ...more };
  $("text").value = more.text ?? "";
  alike(more.like !== undefined ? "Images like this one" : null, more.like !== undefined ? picture(more.like) : null);
  return search();
}

// What the address says: a page can be sent to others, and Back goes back.
function restored() {
  const words = Object.fromEntries(new URLSearchParams(location.search));
  const page = Number(words.page ?? 0);
  delete words.page;
  delete words.upload;  // kept by the server for a while only
  for (const key of ["like", "least", "most"]) if (key in words) words[key] = Number(words[key]);
  state.asked = words;
  $("text").value = words.text ?? "";
  alike(words.like !== undefined ? "Images like this one" : null, words.like !== undefined ? picture(words.like) : null);
  for (const field of $("narrow").elements) {
    if (!field.name) continue;
    const value = words[field.name] ?? (field.name === "sort" ? "best" : "");
    field.value = ["least", "most"].includes(field.name) && value !== "" ? Math.round(value * 100) : value;
  }
  narrowed();
  return search(page, false);
}

// ---- keys ---------------------------------------------------------------------------------------------------------
const typing = (target) => target.matches("input:not([type=checkbox]), select, textarea");
const across = () => getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;

function move(by) {
  const buttons = [...$("grid").querySelectorAll(".card > button")];
  const now = buttons.indexOf(document.activeElement);
  const next = Math.min(Math.max(now < 0 ? 0 : now + by, 0), buttons.length - 1);
  buttons[next]?.focus();
}
function step(by) {
  const next = state.at + by;
  if (next >= 0 && next < state.items.length) look(next);
}
const focused = () => state.items[[...$("grid").querySelectorAll(".card > button")].indexOf(document.activeElement)];

const OPEN = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1),
  a: () => $("accept").hidden || $("accept").click(), c: () => $("name").focus(),
  b: () => say([state.one.image], { type: "blank" }), u: () => state.one.said && undo(state.one.image),
  m: () => $("more").click(), x: () => $("pick").click(),
};
const LIST = {
  ArrowRight: () => move(1), ArrowLeft: () => move(-1), ArrowDown: () => move(across()), ArrowUp: () => move(-across()),
  "/": () => $("text").focus(), n: () => $("after").click(), p: () => $("before").click(),
  x: () => { const item = focused(); if (item) pick(item.image, !state.picked.has(item.image)); },
  a: guarded(async () => {
    const item = focused(), label = item && accepted(item);
    if (label) { const at = state.items.indexOf(item); await say([item.image], label); $("grid").children[at].querySelector("button").focus(); }
  }),
  u: guarded(async () => { const item = focused(); if (item?.said) { const at = state.items.indexOf(item); await undo(item.image); $("grid").children[at].querySelector("button").focus(); } }),
  m: () => { const item = focused(); if (item) start({ like: item.image }); },
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || $("help").open || $("label-many").open) return;
  const does = ($("look").open ? OPEN : LIST)[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});

// ---- wiring -------------------------------------------------------------------------------------------------------
$("ask").addEventListener("submit", (event) => { event.preventDefault(); start({ text: $("text").value.trim() || undefined }); });
$("file").addEventListener("change", guarded(async () => {
  const [file] = $("file").files;
  if (!file) return;
  said("Sending the image…");
  const { upload } = await json("api/uploads", file);
  $("file").value = "";
  await start({ upload });
  alike(`Images like ${file.name}`, URL.createObjectURL(file));
}));
$("like-end").addEventListener("click", () => start({}));
$("narrow").addEventListener("change", () => { narrowed(); search(); });
$("narrow").addEventListener("reset", () => setTimeout(() => { narrowed(); search(); }));
$("narrow").addEventListener("submit", (event) => event.preventDefault());
$("before").addEventListener("click", () => { search(state.page - 1); scrollTo(0, 0); });
$("after").addEventListener("click", () => { search(state.page + 1); scrollTo(0, 0); });
$("pick-all").addEventListener("click", () => { for (const item of state.items) state.picked.add(item.image); picked(); });
$("pick-none").addEventListener("click", () => { state.picked.clear(); picked(); });
$("csv").addEventListener("click", take("csv", "selection.csv"));
$("package").addEventListener("click", take("camtrap-dp", "camtrap-dp.zip"));
$("help-open").addEventListener("click", () => $("help").showModal());
$("help-close").addEventListener("click", () => $("help").close());
$("close").addEventListener("click", () => $("look").close());
$("back").addEventListener("click", () => step(-1));
$("on").addEventListener("click", () => step(1));
$("look").addEventListener("close", () => { state.one = null; $("grid").children[state.at]?.querySelector("button").focus(); });
$("more").addEventListener("click", () => { const { image } = state.one; $("look").close(); start({ like: image }); });
$("pick").addEventListener("click", () => pick(state.one.image, !state.picked.has(state.one.image)));
$("accept").addEventListener("click", () => say([state.one.image], accepted(state.one)));
$("undo").addEventListener("click", () => undo(state.one.image));
$("kind").addEventListener("change", named);
$("correct").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = stated($("kind").value, $("name").value, $("note").value.trim());
  if (label) say([state.one.image], label);
});
$("label-picked").addEventListener("click", () => {
  $("many-title").textContent = `Say what ${count(state.picked.size)} images show`;
  $("label-many").showModal();
});
$("many-close").addEventListener("click", () => $("label-many").close());
$("many").addEventListener("submit", () => {
  const label = stated($("many-kind").value, $("many-name").value);
  if (label) say([...state.picked], label);
});
addEventListener("popstate", restored);

guarded(async () => {
  state.about = await json("api/about");
  const { about } = state;
  document.title = `${about.dataset}: xmodal search`;
  $("whose").replaceChildren(make("strong", about.dataset), `${count(about.images)} images, model ${about.model}`);
  $("package").hidden = !about.packages;
  $("sure").hidden = !about.answers;
  $("file-label").hidden = !about.reads_files;
  if (matchMedia("(max-width: 52rem)").matches) $("filters").open = false;
  filters(about.facets);
  await restored();
})();

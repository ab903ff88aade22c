import { words } from "/page/words.js";

const one = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const saved = (key) => { try { return sessionStorage.getItem(key); } catch { return null; } };
const save = (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* private windows */ } };

let language = saved("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
let models = [];
const say = (key, ...values) => {
  const found = words[language][key];
  return typeof found === "function" ? found(...values) : found;
};

function speakLanguage() {
  document.documentElement.lang = language;
  all("[data-say]").forEach((node) => { node.textContent = say(node.dataset.say); });
  all("[data-hint]").forEach((node) => { node.placeholder = say(node.dataset.hint); node.setAttribute("aria-label", say(node.dataset.hint)); });
  const button = one("#language");
  button.textContent = language === "en" ? "中文" : "English";
  button.lang = language === "en" ? "zh" : "en";
}

// ---------------------------------------------------------------- the server

class Refused extends Error {}
const refusal = ({ code, message }) => new Refused(say("refused", code, message));

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (one("#key").value) headers.Authorization = `Bearer ${one("#key").value}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused(say("lost"));
  }
  if (answer.status === 401) one("#key-field").hidden = false;
  if (!answer.ok) {
    const document = await answer.json().catch(() => ({}));
    throw refusal(document.error || { message: `${answer.status}` });
  }
  return answer;
}

const post = (path, document) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(document) });
const milliseconds = (answer) => Math.round(Number(answer.headers.get("x-penjing-ms")) * 10) / 10;

function asUri(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Refused(String(reader.error)));
    reader.readAsDataURL(blob);
  });
}

async function hear(model, blob, format = "json") {
  const form = new FormData();
  form.append("file", blob, "speech.wav");
  form.append("model", model);
  form.append("response_format", format);
  return ask("/v1/audio/transcriptions", { method: "POST", body: form });
}

// ---------------------------------------------------------------- files and the microphone

function fileField(section, chosen) {
  const drop = one(".drop", section), input = one("input", drop);
  const take = (file) => { if (file) { show(drop, file); chosen(file); } };
  input.addEventListener("change", () => { take(input.files[0]); input.value = ""; });
  for (const name of ["dragover", "dragenter"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  section.addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
  return () => show(drop, null);
}

// A file that misses the field must not take the place of the page.
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
}

function show(drop, file) {
  one("img", drop)?.remove();
  if (file?.type.startsWith("image/")) {
    const image = new Image();
    image.src = URL.createObjectURL(file);
    image.alt = file.name || "";
    drop.append(image);
  }
}

function recordButton(section, heard) {
  const button = one(".record", section);
  let stop = null;
  button.addEventListener("click", async () => {
    if (stop) return stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const context = new AudioContext(), parts = [];
      await context.audioWorklet.addModule("/page/recorder.js");
      const recorder = new AudioWorkletNode(context, "recorder");
      recorder.port.onmessage = ({ data }) => parts.push(data);
      context.createMediaStreamSource(stream).connect(recorder);
      button.classList.add("on");
      button.textContent = say("stop");
      state(section, say("recording"));
      stop = () => {
        stop = null;
        stream.getTracks().forEach((track) => track.stop());
        context.close();
        button.classList.remove("on");
        button.textContent = say("speak");
        heard(wav(parts, context.sampleRate));
      };
    } catch {
      state(section, say("noMicrophone"), true);
    }
  });
}

// 16-bit mono WAV of float samples.
function wav(parts, rate) {
  const count = parts.reduce((sum, part) => sum + part.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (place, letters) => [...letters].forEach((letter, index) => view.setUint8(place + index, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * count, true);
  let place = 44;
  for (const part of parts) {
    for (const value of part) {
      view.setInt16(place, Math.max(-1, Math.min(1, value)) * 32767, true);
      place += 2;
    }
  }
  return new File([view], "speech.wav", { type: "audio/wav" });
}

// ---------------------------------------------------------------- what is shown

function state(section, text, fault = false) {
  const line = one(".state", section);
  line.textContent = text;
  line.classList.toggle("fault", fault);
}

async function during(section, work) {
  state(section, say("working"));
  const buttons = all("button[type=submit]", section);
  buttons.forEach((button) => { button.disabled = true; });
  try {
    state(section, (await work()) || "");
  } catch (error) {
    state(section, error instanceof Refused ? error.message : say("broken"), true);
    if (!(error instanceof Refused)) throw error;
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
  }
}

function element(name, text = "", kind = "") {
  const found = document.createElement(name);
  found.textContent = text;
  if (kind) found.className = kind;
  return found;
}

function fill(select, known) {
  select.replaceChildren(...known.map((model) => {
    const option = element("option", model.id);
    option.value = model.id;
    return option;
  }));
}

const named = (id) => models.find((model) => model.id === id);
const sizeText = (bytes) => (bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

// ---------------------------------------------------------------- search

function searchPanel(section) {
  const find = (query) => during(section, async () => {
    const answer = await post("/v1/search", { query, k: 24 });
    const { data } = await answer.json();
    one(".hits", section).replaceChildren(...data.map(hit));
    return data.length ? say("found", data.length, milliseconds(answer)) : say("none");
  });
  const send = async (file) => find(await asUri(file));
  const clear = fileField(section, send);
  recordButton(section, send);
  one("form", section).addEventListener("submit", (event) => {
    event.preventDefault();
    const text = one("[name=text]", section).value.trim();
    clear();
    if (text) find(text);
    else state(section, say("needText"), true);
  });
}

function hit(found) {
  const item = element("li");
  if (found.kind === "image") {
    const image = new Image();
    image.loading = "lazy";
    image.alt = found.name;
    mediaOf(found).then((url) => { image.src = url; });
    item.append(image);
  } else if (found.kind === "audio") {
    const sound = document.createElement("audio");
    sound.controls = true;
    mediaOf(found).then((url) => { sound.src = url; });
    item.append(sound);
  }
  const line = element("div", `${found.name} `);
  line.append(element("span", found.score.toFixed(3), "score"));
  item.append(line);
  if (found.title) item.append(element("strong", found.title));
  if (found.text) item.append(element("p", found.text));
  return item;
}

async function mediaOf(found) {
  const answer = await ask(`/v1/search/items/${found.id}`);
  return URL.createObjectURL(await answer.blob());
}

// ---------------------------------------------------------------- transcribe

function hearPanel(section) {
  const write = (file) => during(section, async () => {
    const model = one("[name=model]", section).value;
    one("#subtitles").hidden = true;
    one("#heard").textContent = "";
    const answer = await hear(model, file, "verbose_json");
    const found = await answer.json();
    one("#heard").textContent = found.text;
    one("#subtitles").href = URL.createObjectURL(new Blob([subtitles(found.segments)], { type: "text/plain" }));
    one("#subtitles").hidden = !found.segments.length;
    return say("took", milliseconds(answer));
  });
  fileField(section, write);
  recordButton(section, write);
}

function subtitles(segments) {
  const clock = (seconds) => new Date(Math.round(1000 * seconds)).toISOString().slice(11, 23).replace(".", ",");
  return segments.map((part, place) => `${place + 1}\n${clock(part.start)} --> ${clock(part.end)}\n${part.text}\n`).join("\n");
}

// ---------------------------------------------------------------- chat

function chatPanel(section) {
  const talk = one("#talk"), text = one("[name=text]", section);
  let messages = [], picture = null, seen = null;
  const can = (what) => named(one("[name=model]", section).value).penjing.can.includes(what);
  const clear = fileField(section, (file) => { picture = file; text.focus(); });
  const start = () => { messages = []; picture = seen = null; clear(); talk.replaceChildren(); state(section, ""); text.focus(); };
  one("#fresh").addEventListener("click", start);
  one("[name=model]", section).addEventListener("change", start);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      one("form", section).requestSubmit();
    }
  });
  const send = (sound) => {
    const said = text.value.trim();
    if (!said && !picture && !sound) return state(section, say("needText"), true);
    if (picture && !said && !sound && !can("caption") && !can("assist")) return state(section, say("needQuestion"), true);
    const shown = picture;
    text.value = "";
    picture = null;
    clear();
    during(section, async () => {
      const mine = element("li", "", "user"), words = element("span", said || (sound ? "🎤" : ""));
      mine.append(words);
      if (shown) {
        const image = new Image();
        image.src = URL.createObjectURL(shown);
        image.alt = shown.name;
        mine.prepend(image);
      }
      const theirs = element("li", "", "assistant");
      talk.append(mine);
      const assists = can("assist"), about = shown || (assists || can("chat") ? null : seen);
      const parts = [];
      if (about) parts.push({ type: "image_url", image_url: { url: await asUri(about) } });
      if (sound) parts.push({ type: "input_audio", input_audio: { data: (await asUri(sound)).split(",")[1], format: "wav" } });
      const content = parts.length ? [...parts, { type: "text", text: said }] : said;
      // Who only looks answers one question at a time, about what was shown last.
      const asked = [...(about && !assists ? [] : messages), { role: "user", content }];
      let reply = null;
      const answer = await post("/v1/chat/completions", { model: one("[name=model]", section).value, messages: asked, stream: true });
      talk.append(theirs);
      for await (const piece of pieces(answer, (told) => { reply = told; })) {
        theirs.textContent += piece;
        theirs.scrollIntoView({ block: "nearest" });
      }
      if (reply?.handed_over) theirs.textContent = say("handedOver");
      if (about) seen = about;
      if (sound && reply?.heard) words.textContent = reply.heard;
      messages = [...messages, { role: "user", content: reply?.heard || said }, { role: "assistant", content: theirs.textContent }];
      if (reply && !reply.handed_over) {
        theirs.append(...reply.sources.map((source, place) => element("small", `[${place + 1}] ${source.text}`)));
      }
    });
  };
  one("form", section).addEventListener("submit", (event) => { event.preventDefault(); send(null); });
  recordButton(section, send);
}

// Pieces of an answer; what else a desk says of it is told.
async function* pieces(answer, told) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const document = JSON.parse(data);
      if (document.error) throw refusal(document.error);
      if (document.penjing) told(document.penjing);
      const piece = document.choices[0]?.delta.content;
      if (piece) yield piece;
    }
  }
}

// ---------------------------------------------------------------- compare

function comparePanel(section) {
  let file = null;
  const clear = fileField(section, (chosen) => { file = chosen; });
  const go = () => during(section, async () => {
    const text = one("[name=text]", section).value.trim();
    if (!text && !file) throw new Refused(say("needText"));
    const cards = [];
    for (const side of ["left", "right"]) {
      const model = named(one(`[name=${side}]`, section).value);
      cards.push(await card(model, text, file));
    }
    one("#sides").replaceChildren(...cards);
  });
  recordButton(section, (sound) => { file = sound; go(); });
  one("form", section).addEventListener("submit", (event) => { event.preventDefault(); go(); });
  section.addEventListener("keydown", (event) => { if (event.key === "Escape") { file = null; clear(); } });
}

async function card(model, text, file) {
  const found = element("article");
  found.append(element("h2", model.id));
  const list = element("dl");
  try {
    const [said, ms] = await outcome(model, text, file);
    found.append(element("div", said, "text"));
    list.append(element("dt", say("time")), element("dd", say("took", ms)));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    found.append(element("div", error.message, "state fault"));
  }
  list.append(element("dt", say("size")), element("dd", sizeText(model.penjing.size_bytes)));
  found.append(list);
  return found;
}

// What a model says to an input, and in how many milliseconds.
async function outcome(model, text, file) {
  const can = (what) => model.penjing.can.includes(what);
  const isPicture = file?.type.startsWith("image/"), uri = file ? await asUri(file) : null;
  if (file && !isPicture && can("transcribe")) {
    const answer = await hear(model.id, file);
    return [(await answer.json()).text, milliseconds(answer)];
  }
  if (isPicture && !text && can("ask") && !can("caption")) throw new Refused(say("needQuestion"));
  if ((isPicture && can(text ? "ask" : "caption")) || (!file && can("chat"))) {
    const content = isPicture ? [{ type: "image_url", image_url: { url: uri } }, { type: "text", text }] : text;
    const answer = await post("/v1/chat/completions", { model: model.id, messages: [{ role: "user", content }] });
    return [(await answer.json()).choices[0].message.content, milliseconds(answer)];
  }
  if (can("embed") && text && file) {
    const answer = await post("/v1/embeddings", { model: model.id, input: [text, uri] });
    const [left, right] = (await answer.json()).data.map((one) => one.embedding);
    return [say("cosine", left.reduce((sum, value, place) => sum + value * right[place], 0).toFixed(3)), milliseconds(answer)];
  }
  throw new Refused(say("cannot"));
}

// ---------------------------------------------------------------- tabs

function showTab(tab, focus = false) {
  for (const other of all("[role=tab]")) {
    const is = other === tab;
    other.setAttribute("aria-selected", is);
    other.tabIndex = is ? 0 : -1;
    one(`#${other.getAttribute("aria-controls")}`).hidden = !is;
  }
  if (focus) tab.focus();
  save("tab", tab.id);
}

function tabKeys(event) {
  const shown = all("[role=tab]").filter((tab) => !tab.hidden);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  showTab(shown[(shown.indexOf(document.activeElement) + step + shown.length) % shown.length], true);
}

async function begin() {
  speakLanguage();
  let searches = false;
  try {
    models = (await (await ask("/v1/models")).json()).data;
    searches = (await (await ask("/health")).json()).searches;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    one("#nothing").textContent = error.message;
    one("#nothing").hidden = false;
    return;
  }
  one("#nothing").hidden = true;
  const able = (...what) => models.filter((model) => what.some((name) => model.penjing.can.includes(name)));
  fill(one("#hear [name=model]"), able("transcribe"));
  fill(one("#chat [name=model]"), able("assist", "chat", "ask", "caption"));
  const comparable = able("embed", "ask", "caption", "chat", "transcribe");
  for (const side of ["left", "right"]) fill(one(`#compare [name=${side}]`), comparable);
  if (comparable[1]) one("#compare [name=right]").value = comparable[1].id;
  const usable = { search: searches, hear: able("transcribe").length, chat: able("assist", "chat", "ask", "caption").length, compare: comparable.length > 1 };
  for (const [name, is] of Object.entries(usable)) one(`#tab-${name}`).hidden = !is;
  const tabs = all("[role=tab]").filter((tab) => !tab.hidden);
  one("#nothing").hidden = tabs.length > 0;
  if (tabs.length) showTab(tabs.find((tab) => tab.id === saved("tab")) || tabs[0]);
}

searchPanel(one("#search"));
hearPanel(one("#hear"));
chatPanel(one("#chat"));
comparePanel(one("#compare"));
all("[role=tab]").forEach((tab) => tab.addEventListener("click", () => showTab(tab)));
one("#tabs").addEventListener("keydown", tabKeys);
one("#language").addEventListener("click", () => { language = language === "en" ? "zh" : "en"; save("language", language); speakLanguage(); });
one("#key").addEventListener("change", begin);
begin();
